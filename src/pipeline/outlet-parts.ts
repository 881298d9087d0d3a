import { join } from 'node:path'
import { environmentValue } from '../config/config.js'
import type { Settings } from '../config/settings.js'
import { HubError } from '../errors.js'
import type { DeadLetter } from '../model.js'
import { Outlets, readOutlets } from '../outlets/outlets.js'
import type { DeadLetterFilter, DeadLetters } from '../queue/queue.js'
import { machineClock } from '../runtime/time.js'
import type { BrokerLink } from './broker-link.js'
import type { ConsumerSuspects } from './consumer-suspects.js'
import type { LetterAccount } from './replay.js'
import type { SpoolProgress } from './spool-progress.js'

/** Makes the outlets of the settings. They run once the spool is open. */
export function outletsOf(
  settings: Settings,
  { dir, hubId }: { readonly dir: string; readonly hubId: string },
  {
    progress,
    suspects,
    broker,
  }: { readonly progress: SpoolProgress; readonly suspects: ConsumerSuspects; readonly broker: BrokerLink },
): Outlets {
  const { outlets, faults } = readOutlets(settings.outlets, environmentValue)
  if (faults.length > 0) throw new HubError('bad_settings', faults.join('\n'))
  return new Outlets({
    plans: outlets,
    dir: join(dir, 'outlets'),
    hubId,
    spool: progress,
    spoolLimit: settings['spool.limit'],
    suspects,
    ...{ counts: broker, clock: machineClock, log: broker, incidents: broker },
  })
}

/** The dead letters of the hub and those of each outlet, as a filter names them, and their accounts. */
export class OutletLetters implements DeadLetters, LetterAccount {
  /** Dead letters that could not be stored. */
  readonly own: DeadLetters
  readonly #account: LetterAccount
  readonly #outlets: Outlets

  /** @param own Dead letters that could not be stored, with their account */
  constructor(own: DeadLetters, account: LetterAccount, outlets: Outlets) {
    this.own = own
    this.#account = account
    this.#outlets = outlets
  }

  put(letters: readonly DeadLetter[]): Promise<void> {
    return this.own.put(letters)
  }

  async list(filter: DeadLetterFilter, limit: number): Promise<readonly DeadLetter[]> {
    const { outlet } = filter
    if (outlet === undefined) return this.own.list(filter, limit)
    const letters = await this.#outlets.dead(outlet).list(filter, limit)
    return letters.map(letter => ({ ...letter, outlet }))
  }

  async sweep(filter: DeadLetterFilter, handle: Sweeping, signal: AbortSignal): Promise<void> {
    const { outlet } = filter
    if (outlet === undefined) return this.own.sweep(filter, handle, signal)
    const marked: Sweeping = letters => handle(letters.map(letter => ({ ...letter, outlet })))
    return this.#outlets.dead(outlet).sweep(filter, marked, signal)
  }

  async moved(letters: readonly DeadLetter[], to: 'stored' | 'dropped'): Promise<void> {
    const outlet = letters[0]?.outlet
    if (outlet === undefined) await this.#account.moved(letters, to)
    else this.#outlets.moved(outlet, letters, to)
  }
}

type Sweeping = Parameters<DeadLetters['sweep']>[1]
