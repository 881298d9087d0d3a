import { connect, type Socket } from 'node:net'
import type { Task } from './task.js'
import { connectPacket } from './wire.js'

/** Connects with wrong passwords, so many times a second: half of them of a user that is there, half of strangers. */
export interface GuessJob {
  readonly kind: 'guess'
  readonly port: number
  /** Of the user that is there. */
  readonly username: string
  readonly perSecond: number
}

const tickMs = 10

export class Guessers implements Task {
  readonly #job: GuessJob
  readonly #sockets = new Set<Socket>()
  #timer: NodeJS.Timeout | undefined
  #guessed = 0
  #refused = 0
  #letIn = 0

  constructor(job: GuessJob) {
    this.#job = job
  }

  async prepare(): Promise<void> {}

  run(): void {
    const { perSecond } = this.#job
    const from = performance.now()
    this.#timer = setInterval(() => {
      const due = ((performance.now() - from) / 1_000) * perSecond
      while (this.#guessed < due) this.#guess()
    }, tickMs)
  }

  #guess(): void {
    const { port, username } = this.#job
    const n = this.#guessed++
    const name = n % 2 === 0 ? username : `stranger-${n}`
    // Of many addresses, as a botnet is: else one address has used up its attempts at once.
    const localAddress = `127.0.${(n >> 8) & 0x7f}.${1 + (n & 0x7f)}`
    const socket = connect({ port, host: '127.0.0.1', localAddress, noDelay: true })
    this.#sockets.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => this.#sockets.delete(socket))
    socket.on('data', data => {
      if (data[3] === 0) this.#letIn++
      else this.#refused++
      socket.destroy()
    })
    socket.write(connectPacket(`guess-${n}`, { login: { username: name, password: `guess ${n}` } }))
  }

  counts() {
    return { guessed: this.#guessed, refused: this.#refused, letIn: this.#letIn }
  }

  end(): void {
    clearInterval(this.#timer)
    for (const socket of this.#sockets) socket.destroy()
  }
}
