import type { Access } from '../auth/rules.js'
import type { QoS } from '../model.js'
import type { Session } from './session.js'
import type { Group } from './shared-group.js'

/** What of a subscription may be delivered: `some` is asked for each message. */
export type Reach = 'all' | 'some' | 'none'

export interface Subscription {
  readonly session: Session
  /** As it was asked for: of a shared one with `$share/{group}/`. */
  readonly filter: string
  readonly qos: QoS
  /** What its own client publishes is not delivered. [MQTT-3.8.3-3] */
  readonly noLocal: boolean
  /** Deliveries keep the RETAIN flag of the publish. (MQTT 5 §3.8.3.1) */
  readonly asPublished: boolean
  /** Its identifier; undefined: it has none. */
  readonly ids: readonly [number] | undefined
  /** Whom it shares with. */
  readonly group: Group | undefined
  /** As permissions are now: one that was granted stays, and tells nothing while it is not. */
  reach: Reach
}

/** What it is about. */
export function topicsOf({ group, filter }: Pick<Subscription, 'group' | 'filter'>): string {
  return group ? group.filter : filter
}

export function reachOf(access: Access | undefined, filter: string): Reach {
  if (!access || access.readsAll(filter)) return 'all'
  return access.subscribe(filter).allowed ? 'some' : 'none'
}
