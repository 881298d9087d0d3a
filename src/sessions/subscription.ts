import type { Access } from '../access/rules.js'
import type { QoS } from '../model.js'
import type { GroupName } from './delivery.js'

/** How much of a subscription may be delivered; `some`: permissions are checked for each message. */
export type Reach = 'all' | 'some' | 'none'

/** A subscription of a session (`S`). */
export interface SubscriptionOf<S> {
  readonly session: S
  /** Topic filter of the SUBSCRIBE packet; for a shared subscription with `$share/{group}/`. */
  readonly filter: string
  readonly qos: QoS
  /** Whether publishes of the subscribing client are not delivered. [MQTT-3.8.3-3] */
  readonly noLocal: boolean
  /** Whether deliveries keep the RETAIN flag of the publish. (MQTT 5 §3.8.3.1) */
  readonly asPublished: boolean
  /** Whether the client wants no more than the newest message of each topic while it does not keep up. */
  readonly conflate: boolean
  /** Subscription identifier. Undefined when the subscription has none. */
  readonly ids: readonly [number] | undefined
  /** The group of a shared subscription; undefined: the subscription is not shared. */
  readonly group: GroupName | undefined
  /** Reach under the current permissions. A granted subscription stays, and delivers nothing while not permitted. */
  reach: Reach
}

/** Returns the topic filter without `$share/{group}/`. */
export function topicsOf({ group, filter }: Pick<SubscriptionOf<unknown>, 'group' | 'filter'>): string {
  return group ? group.filter : filter
}

/** Applies changed permissions to subscriptions. */
export function narrow(subscriptions: Iterable<SubscriptionOf<unknown>>, access: Access | undefined): void {
  for (const subscription of subscriptions) subscription.reach = reachOf(access, topicsOf(subscription))
}

export function reachOf(access: Access | undefined, filter: string): Reach {
  if (!access || access.readsAll(filter)) return 'all'
  return access.subscribe(filter).allowed ? 'some' : 'none'
}
