import type { Authority } from '../auth/admission.js'
import type { SharedPool } from '../runtime/shared-pool.js'
import { isWildcard } from '../topics.js'
import type { Session } from './session.js'

export interface SubscriptionLimitsOptions {
  /** Maximum number of subscriptions of one client, and of those with wildcards. */
  readonly subscriptions: number
  readonly wildcards: number
  /** The same limits for all clients together. */
  readonly allSubscriptions: number
  readonly allWildcards: number
  /** Maximum number of + levels in one filter. */
  readonly plusLevels: number
  /** Knows the wildcard subscriptions that a user may have, where the users file has a number. */
  readonly users: Pick<Authority, 'user'>
  /** Current shares of all users. */
  readonly sessions: { readonly pools: { readonly subscriptions: SharedPool; readonly wildcards: SharedPool } }
}

/** Maximum length of all topic filters of one client: durable sessions have them after the next start, too. */
const maxFilterLength = 500_000

/** Maximum number of shared subscriptions of one client: each is a separate delivery. */
const maxShared = 100

/** Limits how many subscriptions there may be, and how expensive one may be. */
export class SubscriptionLimits {
  readonly #options: SubscriptionLimitsOptions

  constructor(options: SubscriptionLimitsOptions) {
    this.#options = options
  }

  /**
   * Returns why a session may not have one more subscription, in words. Undefined when the session may. `topics` is
   * `filter` without `$share/…/`.
   */
  fault(session: Session, filter: string, topics: string): string | undefined {
    const { subscriptions: most, wildcards: usual, plusLevels, users } = this.#options
    const { subscriptions, filterLength, shared, wildcards, user } = session
    if (subscriptions.has(filter)) return undefined
    if (levelsOfPlus(topics) > plusLevels) {
      return `a topic filter with more than ${plusLevels} levels of + (limits.plusLevels)`
    }
    if (filterLength + filter.length > maxFilterLength) {
      return `topic filters with more than ${maxFilterLength} characters in total`
    }
    if (filter !== topics && (shared?.size ?? 0) >= maxShared) {
      return `more than ${maxShared} shared subscriptions of one client`
    }
    if (subscriptions.size >= most) return `more than ${most} subscriptions (limits.subscriptions)`
    const own = users.user(user)?.wildcards
    if (isWildcard(filter) && wildcards >= (own ?? usual)) {
      const whose = own === undefined ? 'limits.wildcards' : `wildcards of user ${user}`
      return `more than ${own ?? usual} subscriptions with + or # (${whose})`
    }
    const { allSubscriptions, allWildcards } = this.#options
    const pools = this.#options.sessions.pools
    if (!pools.subscriptions.admits(user, 1, allSubscriptions))
      return beyondShare('subscriptions', 'limits.allSubscriptions')
    if (isWildcard(filter) && !pools.wildcards.admits(user, 1, allWildcards)) {
      return beyondShare('subscriptions with + or #', 'limits.allWildcards')
    }
    return undefined
  }
}

/** Returns why a user may not have more of a pool that all users share. */
export function beyondShare(what: string, setting: string): string {
  return `its user has used its share of all ${what} (${setting}, limits.share), and less than half of them are free`
}

function levelsOfPlus(filter: string): number {
  let found = 0
  for (let at = filter.indexOf('+'); at >= 0; at = filter.indexOf('+', at + 1)) found++
  return found
}
