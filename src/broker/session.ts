import type { QoS } from '../model.js'
import type { RecordedSubscription, StoredPacket } from './session-records.js'

/** A subscription with QoS 1 or 2: what is queued for while its client is absent. */
export interface OfflineSubscription extends RecordedSubscription {
  readonly clientId: string
}

/** A QoS 2 publish that is in the spool: all that is still wanted of it is its packet id. */
export const spooled = Symbol('spooled')

/** What is kept of one client. */
export interface Session {
  readonly subscriptions: Map<string, RecordedSubscription>
  /** Filed subscriptions, by filter, so that they can be taken out of the index again. */
  readonly filed: Map<string, OfflineSubscription>
  /** What is queued or in flight to the client, oldest first, by broker id and counter. */
  readonly outgoing: Map<string, StoredPacket>
  readonly byMessageId: Map<number, string>
  /** QoS 2 publishes received and not yet released, by packet id. */
  readonly incoming: Map<number, StoredPacket | typeof spooled>
  /** Who waits for a QoS 2 publish on its way into the spool, by packet id. */
  readonly accepting: Map<number, ((error?: Error) => void)[]>
}

export function newSession(): Session {
  return {
    subscriptions: new Map(),
    filed: new Map(),
    outgoing: new Map(),
    byMessageId: new Map(),
    incoming: new Map(),
    accepting: new Map(),
  }
}

export function isEmpty({ subscriptions, outgoing, incoming, accepting }: Session): boolean {
  return subscriptions.size + outgoing.size + incoming.size + accepting.size === 0
}

/** A client with overlapping subscriptions is queued for once, at the highest QoS. (aedes #543) */
export function onePerClient<T extends { readonly clientId: string; readonly qos: QoS }>(
  subscriptions: readonly T[],
): T[] {
  if (subscriptions.length < 2) return [...subscriptions]
  const best = new Map<string, T>()
  for (const subscription of subscriptions) {
    const other = best.get(subscription.clientId)
    if (!other || other.qos < subscription.qos) best.set(subscription.clientId, subscription)
  }
  return [...best.values()]
}
