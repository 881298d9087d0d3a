import type { QoS } from '../../model.js'
import type { PacketCodec, Subscribe, SubscribeOption } from '../../mqtt/codec.js'
import type { Framer } from '../../mqtt/framer.js'
import type { Fault } from '../../mqtt/reason-codes.js'
import type { Session } from '../../sessions/sessions.js'
import { historyPrefix, sharedFilter, withoutGroup } from '../../topics.js'
import type { Client } from '../client.js'
import { historyFault } from '../history-subscriptions.js'
import { whenKept } from './when-kept.js'
import { whenRestored } from './when-restored.js'

/** A subscription that gets retained messages, up to those that were retained when the subscription was made. */
interface RetainedRequest {
  readonly filter: string
  readonly qos: QoS
  readonly until: number
}

/**
 * Handles SUBSCRIBE: authorises each filter, subscribes the session, and sends SUBACK when the subscriptions are kept;
 * retained messages follow. SUBACK has a code for every filter, also for a repeated one. [MQTT-3.8.4-4] [MQTT-3.8.4-5]
 */
export function handleSubscribe(client: Client, codec: PacketCodec, session: Session, framer: Framer): void {
  const { header, buffer, start, end } = framer
  const packet = codec.readSubscribe(header, buffer, start, end)
  whenRestored(client, session, () => subscribe(client, codec, session, packet))
}

function subscribe(client: Client, codec: PacketCodec, session: Session, packet: Subscribe): void {
  const { packetId, id, conflate, subscriptions } = packet
  const { broker } = client
  let refusals = 0
  const retained: RetainedRequest[] = []
  const answers = subscriptions.map((subscription): QoS | Fault => {
    const { filter } = subscription
    // An acknowledged delivery may not be left out, so merging is for QoS 0.
    const qos = conflate || filter.startsWith(historyPrefix) ? 0 : subscription.qos
    const fault = historyFault(filter, broker.feeds) ?? broker.policy.subscribeFault(client, filter)
    if (fault) {
      // Only the first refusal of a packet is logged: there may be a hundred thousand.
      if (refusals++ === 0) broker.refusals.refused(client, 'subscribe', filter, fault.reason)
      return fault
    }
    const request = accept(client, session, { ...subscription, qos }, id, conflate)
    if (request) retained.push(request)
    return qos
  })
  whenKept(client, session, () => {
    if (!client.answer(codec.suback(packetId, answers))) return
    for (const { filter } of subscriptions) if (session.subscriptions.has(filter)) client.startHistory(filter)
    broker.commands?.onSubscribed(subscriptions.map(({ filter }) => withoutGroup(filter)))
    for (const { filter, qos, until } of retained) {
      if (session.subscriptions.has(filter)) broker.sessions.offerRetained(session, filter, qos, until)
    }
  })
}

/** Subscribes the session. Returns which retained messages are to be sent; undefined for none. */
function accept(
  { broker: { sessions }, isBridge }: Client,
  session: Session,
  subscription: SubscribeOption,
  id: number,
  conflate: boolean,
): RetainedRequest | undefined {
  const { filter, qos, retainHandling } = subscription
  const isNew = !session.subscriptions.has(filter)
  const isShared = sharedFilter(filter) !== undefined
  sessions.subscribe(session, {
    ...subscription,
    id,
    conflate,
    ...(isBridge && !isShared && { noLocal: true, asPublished: true }),
  })
  // [MQTT-3.8.4-4]
  const isWanted = !isShared && (retainHandling === 0 || (retainHandling === 1 && isNew))
  return isWanted ? { filter, qos, until: sessions.retainedOf(filter).changes } : undefined
}
