import { describe, HubError } from '../errors.js'
import { EncodedPublish } from '../mqtt/publish.js'
import { type Fault, reasonCode } from '../mqtt/reason-codes.js'
import { type HistoryFilter, historyFilter } from '../topics.js'
import type { HistoryEvent, HistoryFeed, HistoryFeeds, HistoryReceiver } from './history-feeds.js'

/**
 * Subscriptions of one client to `$hub/history/{span}/{points}/{filter}`. Each is a feed, whose events are sent at QoS 0
 * as fast as the client reads. A session that is kept begins its feeds anew with each connection.
 */
export class HistorySubscriptions {
  readonly #client: HistoryReceiver
  readonly #feeds: HistoryFeeds
  readonly #open = new Map<string, HistoryFeed>()
  #room: (() => void)[] = []

  constructor(client: HistoryReceiver, feeds: HistoryFeeds) {
    this.#client = client
    this.#feeds = feeds
  }

  /** Begins a subscription, or begins one anew. */
  start(filter: string): void {
    const history = historyFilter(filter)
    if (!history || 'fault' in history) return
    this.stop(filter)
    const { user, id: clientId, access } = this.#client
    try {
      const historyMs = this.#feeds.span(history.span)
      const wanted = { filters: [history.filter], historyMs, points: history.points }
      const feed = this.#feeds.open({ user, clientId, access }, wanted)
      this.#open.set(filter, feed)
      void this.#deliver(history, feed)
    } catch (error) {
      void this.#send(history, refusal(error))
    }
  }

  stop(filter: string): void {
    this.#open.get(filter)?.close()
    this.#open.delete(filter)
  }

  close(): void {
    for (const filter of [...this.#open.keys()]) this.stop(filter)
    this.wake()
  }

  /** Called when the connection has room again. */
  wake(): void {
    const waiting = this.#room
    this.#room = []
    for (const resolve of waiting) resolve()
  }

  async #deliver(history: HistoryFilter, feed: HistoryFeed): Promise<void> {
    try {
      for (let events = await feed.next(); events; events = await feed.next()) {
        for (const event of events) if (!(await this.#send(history, event))) return feed.close()
      }
    } catch (error) {
      await this.#send(history, refusal(error))
    } finally {
      feed.close()
    }
  }

  /** Resolves with false when the connection is over. */
  async #send({ prefix, marker }: HistoryFilter, { kind, topic, json }: HistoryEvent): Promise<boolean> {
    const payload = Buffer.from(`{"event":"${kind}",${json.slice(1)}`)
    const message = new EncodedPublish(prefix + (topic || marker), payload)
    const client = this.#client
    while (client.session) {
      if (client.hasCapacity && client.deliverQos0(message, false, undefined)) return true
      await new Promise<void>(resolve => this.#room.push(resolve))
    }
    return false
  }
}

function refusal(error: unknown): HistoryEvent {
  const { code, message } = error instanceof HubError ? error : { code: 'internal', message: describe(error) }
  return { kind: 'ended', topic: '', json: JSON.stringify({ error: code, message }) }
}

/** Returns why a client may not subscribe to a filter of history. Undefined for any other filter. */
export function historyFault(filter: string, feeds: Pick<HistoryFeeds, 'span'> | undefined): Fault | undefined {
  const invalid = (reason: string): Fault => ({ code: reasonCode.topicFilterInvalid, reason })
  if (/^\$share\/[^/]*\/\$hub\/history\//.test(filter)) return invalid(`${filter}: history cannot be shared`)
  const history = historyFilter(filter)
  if (!history) return undefined
  if ('fault' in history) return invalid(history.fault)
  try {
    feeds?.span(history.span)
    return undefined
  } catch (error) {
    return invalid(describe(error))
  }
}
