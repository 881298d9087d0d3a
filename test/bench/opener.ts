import { Connection } from './connection.js'
import { Latencies, type Task } from './task.js'
import { monotonicMicros } from './wire.js'

/** Opens connections and leaves them open, silent. */
export interface OpenJob {
  readonly kind: 'open'
  readonly port: number
  readonly connections: number
  /** So many are opened at a time: the next one begins when one has its CONNACK. */
  readonly concurrency: number
}

export class Opener implements Task {
  /** From connecting to CONNACK. */
  readonly latencies = new Latencies()
  readonly #job: OpenJob
  readonly #onFailure: (error: Error) => void
  readonly done: Promise<void>
  #finish: () => void = () => {}
  #opened = 0
  #micros = 0

  constructor(job: OpenJob, onFailure: (error: Error) => void) {
    this.#job = job
    this.#onFailure = onFailure
    this.done = new Promise(resolve => {
      this.#finish = resolve
    })
  }

  async prepare(): Promise<void> {}

  run(): void {
    const { connections, concurrency, port } = this.#job
    const startedAt = monotonicMicros()
    let begun = 0
    const open = async (): Promise<void> => {
      while (begun < connections) {
        const clientId = `idle-${begun++}`
        const begunAt = monotonicMicros()
        await new Connection({ port, clientId, onPacket: () => {}, onFailure: this.#onFailure }).ready
        const now = monotonicMicros()
        this.latencies.add(now - begunAt)
        this.#micros = now - startedAt
        if (++this.#opened === connections) this.#finish()
      }
    }
    for (let n = 0; n < concurrency; n++) open().catch(() => {})
  }

  counts() {
    return { opened: this.#opened, openingMicros: this.#micros }
  }
}
