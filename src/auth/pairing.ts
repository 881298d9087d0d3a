import type { Verb } from '../access/rules.js'
import { dropOldest } from '../runtime/drop-oldest.js'
import type { Authority } from './authority.js'

/** What a device gets for a pairing code. `clients` are the ids that it may connect with. */
export interface Paired {
  readonly user: string
  readonly password: string
  readonly clients: readonly string[]
  /** Topic filters. */
  readonly publish: readonly string[]
  readonly read: readonly string[]
}

/** The last pairing of a device since the start of the hub. */
export interface PairedFrom {
  /** Milliseconds since the epoch. */
  readonly at: number
  readonly address: string
}

/** Maximum number of devices whose pairing is remembered. Beyond this, the one that paired first is forgotten. */
const maxPaired = 1_000

/** Gives devices their credentials for a pairing code. */
export class DevicePairing {
  readonly #authority: Pick<Authority, 'redeem'>
  readonly #paired = new Map<string, PairedFrom>()

  constructor(authority: Pick<Authority, 'redeem'>) {
    this.#authority = authority
  }

  /**
   * Redeems a code, once: 12 characters in upper case without dashes. Resolves with the credentials and permissions of
   * the device. `{client}` stays in the filters: the device knows its own id. Rejects when there is no such code, or
   * the code has expired.
   */
  async redeem(code: string, from: PairedFrom): Promise<Paired> {
    const { user, password } = await this.#authority.redeem(code)
    this.#paired.delete(user.name)
    this.#paired.set(user.name, from)
    dropOldest(this.#paired, maxPaired)
    const allowed = (verb: Verb) =>
      user.rules
        .filter(rule => rule.effect === 'allow' && (rule.verb === verb || rule.verb === 'all'))
        .map(({ filter }) => filter.replaceAll('{user}', user.name))
    return { user: user.name, password, clients: user.clients, publish: allowed('publish'), read: allowed('read') }
  }

  /** Returns when and from where a device has paired last. Undefined: not since the start. */
  last(user: string): PairedFrom | undefined {
    return this.#paired.get(user)
  }
}
