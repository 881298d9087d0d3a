import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { environmentValue } from '../config/config.js'
import type { Settings } from '../config/settings.js'
import { describe, HubError } from '../errors.js'
import type { AlarmCheck } from '../observe/alarms.js'
import type { SentenceLog } from '../observe/log.js'
import type { Backpressure } from '../runtime/backpressure.js'
import type { Part } from '../runtime/lifecycle.js'
import type { Inlet, InletCounts, InletPublisher } from './inlet.js'
import { readInlets } from './plan.js'

export interface InletsOptions {
  readonly settings: Settings
  readonly dir: string
  readonly identity: { readonly hubId: string }
  readonly broker: InletPublisher
  readonly backpressure: readonly Pick<Backpressure, 'overloaded'>[]
  readonly log: SentenceLog
}

/** How long an inlet may be without a connection before there is an alarm. */
const patienceMs = 10_000

/** Messages of other brokers that are published here. */
export class Inlets implements Part {
  readonly name = 'inlets'
  readonly #options: InletsOptions
  readonly #inlets: Inlet[] = []
  /** When each inlet got into trouble, by its name. */
  readonly #since = new Map<string, number>()
  readonly alarm: AlarmCheck = { name: 'inlets', check: () => this.#trouble() }

  constructor(options: InletsOptions) {
    this.#options = options
  }

  async start(): Promise<void> {
    const { settings, dir, identity, broker, backpressure, log } = this.#options
    const { inlets } = readInlets(settings.inlets, environmentValue)
    if (inlets.length === 0) return
    // The client is loaded only where there is an inlet.
    const { Inlet } = await import('./inlet.js')
    const packetBytes = settings['limits.packet']
    const folder = join(dir, 'inlets')
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    for (const plan of inlets) {
      const path = join(folder, `${plan.name}.json`)
      const inlet = this.#made(
        plan.name,
        () => new Inlet({ plan, hubId: identity.hubId, publisher: broker, backpressure, packetBytes, path, log }),
      )
      this.#inlets.push(inlet)
      inlet.start()
    }
  }

  #made(name: string, make: () => Inlet): Inlet {
    try {
      return make()
    } catch (error) {
      // A file of TLS is not there, or is none.
      throw new HubError('bad_settings', `inlets: ${name}: ${describe(error)}`, { cause: error })
    }
  }

  async stop(): Promise<void> {
    await Promise.all(this.#inlets.map(inlet => inlet.stop()))
  }

  /** Returns what became of the messages of each inlet since the start. */
  numbers(): readonly (InletCounts & { readonly inlet: string; readonly isConnected: boolean })[] {
    return this.#inlets.map(({ plan, counts, isConnected }) => ({ inlet: plan.name, isConnected, ...counts }))
  }

  #trouble(): string | undefined {
    const now = performance.now()
    const sentences: string[] = []
    for (const { plan, trouble } of this.#inlets) {
      if (trouble === undefined) this.#since.delete(plan.name)
      else {
        const since = this.#since.get(plan.name) ?? now
        this.#since.set(plan.name, since)
        if (now - since >= patienceMs) sentences.push(trouble)
      }
    }
    return sentences.length > 0 ? sentences.join('; ') : undefined
  }
}
