/** Refusals of the hub by client. */

import type { Presence, Refusal } from './feed.js'

/** Most different refusals kept for one client. */
const most = 10
/** Age from which a refusal is no longer news. */
const newsFor = 86_400_000

/** One refusal, with the number of repetitions. */
export interface Refused extends Refusal {
  /** How often this page has seen the refusal. */
  readonly times: number
}

/** The known refusals: the hub keeps the last one of each client, this page all that came since the page was opened. */
export class Refusals {
  readonly #of = new Map<string, readonly Refused[]>()

  take(refusal: Refusal): void {
    const before = this.of(refusal.clientId)
    const isSame = (one: Refusal) =>
      one.action === refusal.action && one.topic === refusal.topic && one.reason === refusal.reason
    const same = before.find(isSame)
    // The retained message of the hub comes again with every connection.
    if (same && same.time >= refusal.time) return
    const newest = { ...refusal, times: (same?.times ?? 0) + 1 }
    this.#of.set(refusal.clientId, [newest, ...before.filter(one => one !== same)].slice(0, most))
  }

  /** Returns the refusals of a client, the newest first. */
  of(clientId: string): readonly Refused[] {
    return this.#of.get(clientId) ?? []
  }

  /** Returns the newest refusal if recent, and not settled by a later connection. */
  news(clientId: string, presence: Presence | undefined, now: number): Refused | undefined {
    const [newest] = this.of(clientId)
    if (!newest || now - newest.time > newsFor) return undefined
    const settled = newest.action === 'connect' && presence?.online === true && presence.since > newest.time
    return settled ? undefined : newest
  }
}
