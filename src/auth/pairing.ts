import type { Authority } from './authority.js'
import type { Verb } from './rules.js'

/** What a device gets for a pairing code. `clients` are the ids that it may connect with. */
export interface Paired {
  readonly user: string
  readonly password: string
  readonly clients: readonly string[]
  /** Topic filters. */
  readonly publish: readonly string[]
  readonly read: readonly string[]
}

/**
 * Redeems a pairing code, and resolves with the credentials and permissions of the device. `{client}` stays in the
 * filters: the device knows its own id.
 */
export async function pair(authority: Pick<Authority, 'redeem'>, code: string): Promise<Paired> {
  const { user, password } = await authority.redeem(code)
  const allowed = (verb: Verb) =>
    user.rules
      .filter(rule => rule.effect === 'allow' && (rule.verb === verb || rule.verb === 'all'))
      .map(({ filter }) => filter.replaceAll('{user}', user.name))
  return { user: user.name, password, clients: user.clients, publish: allowed('publish'), read: allowed('read') }
}
