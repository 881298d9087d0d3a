import type { Verb } from '../access/rules.js'
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

/** Gives devices their credentials for a pairing code. */
export class DevicePairing {
  readonly #authority: Pick<Authority, 'redeem'>

  constructor(authority: Pick<Authority, 'redeem'>) {
    this.#authority = authority
  }

  /**
   * Redeems a code, once: 12 characters in upper case without dashes. Resolves with the credentials and permissions of
   * the device. `{client}` stays in the filters: the device knows its own id. Rejects when there is no such code, or
   * the code has expired.
   */
  async redeem(code: string): Promise<Paired> {
    const { user, password } = await this.#authority.redeem(code)
    const allowed = (verb: Verb) =>
      user.rules
        .filter(rule => rule.effect === 'allow' && (rule.verb === verb || rule.verb === 'all'))
        .map(({ filter }) => filter.replaceAll('{user}', user.name))
    return { user: user.name, password, clients: user.clients, publish: allowed('publish'), read: allowed('read') }
  }
}
