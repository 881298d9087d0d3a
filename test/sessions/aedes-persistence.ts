import { Readable } from 'node:stream'
import type { QoS } from '../../src/model.js'
import { isReleased, type Queued } from '../../src/sessions/delivery.js'
import type { Retained } from '../../src/sessions/retained.js'
import type { Session, Subscription } from '../../src/sessions/session.js'
import type { LastWill, Published } from '../../src/sessions/session-state.js'
import type { Sessions } from '../../src/sessions/sessions.js'
import { isWildcard, matches } from '../../src/topics.js'
import { clearIncoming } from '../fixtures/sessions.js'

/** A packet in the form in which Aedes stores packets and reads them back. */
export interface StoredPacket {
  cmd: 'publish' | 'pubrel'
  topic: string
  payload: Buffer
  qos: QoS
  retain: boolean
  dup: boolean
  brokerId?: string
  brokerCounter?: number
  clientId?: string
  user?: string
  /** Fields of a will; see mqtt/codec.ts. */
  delay?: number
  expiry?: number | undefined
  properties?: Buffer | undefined
  messageId?: number | undefined
}

/** An Aedes client, whose id is the name of a session: the suite gives no more than the id. */
interface ClientRef {
  readonly id: string
}

interface AedesSubscription {
  readonly topic: string
  readonly qos: QoS
}

/**
 * {@link Sessions} as Aedes' persistence interface, so that Aedes' abstract suite can test them. The hub gives Aedes
 * the wills alone; see src/broker/will-persistence.ts.
 */
export class AedesPersistence {
  readonly sessions: Sessions
  broker: { readonly id: string } = { id: 'hub' }
  /** Fields that Aedes gave with a message or a subscription and that the sessions have no use for. */
  readonly #given = new WeakMap<object, object>()
  /** QoS 2 publishes that Aedes stored for a session, by packet id: sessions keep the packet id alone. */
  readonly #incoming = new WeakMap<Session, Map<number, object>>()

  constructor(sessions: Sessions) {
    this.sessions = sessions
  }

  async setup(broker: { readonly id: string }): Promise<void> {
    this.broker = broker
  }

  async destroy(): Promise<void> {
    await this.sessions.stop()
  }

  async storeRetained(packet: StoredPacket): Promise<void> {
    this.sessions.publish({ ...published(packet), qos: 0 }, 0)
    for (const message of this.sessions.retainedBy(packet.topic)) this.#given.set(message, { ...packet })
  }

  createRetainedStream(filter: string): Readable {
    return this.createRetainedStreamCombi([filter])
  }

  createRetainedStreamCombi(filters: readonly string[]): Readable {
    const found = new Set(filters.flatMap(filter => [...this.sessions.retainedBy(filter)]))
    return Readable.from(
      [...found].map(message => ({ retain: true, ...this.#given.get(message), ...clientOf(message) })),
    )
  }

  async addSubscriptions({ id }: ClientRef, subscriptions: readonly AedesSubscription[]): Promise<void> {
    const session = this.#session(id)
    for (const given of subscriptions) {
      this.sessions.subscribe(session, { filter: given.topic, qos: given.qos })
      this.#given.set(session.subscriptions.get(given.topic) as Subscription, { ...given })
    }
  }

  async removeSubscriptions({ id }: ClientRef, filters: readonly string[]): Promise<void> {
    const session = this.sessions.find(id)
    for (const filter of filters) if (session) this.sessions.unsubscribe(session, filter)
  }

  async cleanSubscriptions({ id }: ClientRef): Promise<void> {
    this.sessions.forget(id)
  }

  async subscriptionsByClient({ id }: ClientRef): Promise<AedesSubscription[]> {
    return [...(this.sessions.find(id)?.subscriptions.values() ?? [])].map(subscription =>
      this.#subscription(subscription),
    )
  }

  async subscriptionsByTopic(topic: string): Promise<(AedesSubscription & { clientId: string })[]> {
    return (
      [...this.sessions.all()]
        .flatMap(({ subscriptions }) => [...subscriptions.values()])
        .filter(({ filter, qos }) => qos > 0 && matches(filter, topic))
        // The suite expects these first.
        .sort((a, b) => Number(isWildcard(b.filter)) - Number(isWildcard(a.filter)))
        .map(subscription => ({ ...this.#subscription(subscription), clientId: subscription.session.name }))
    )
  }

  async countOffline(): Promise<{ subsCount: number; clientsCount: number }> {
    const all = [...this.sessions.all()].filter(({ subscriptions }) => subscriptions.size > 0)
    const queueing = all.flatMap(({ subscriptions }) => [...subscriptions.values()].filter(({ qos }) => qos > 0))
    return { subsCount: queueing.length, clientsCount: all.length }
  }

  getClientList(filter: string): Readable {
    const all = [...this.sessions.all()].filter(({ subscriptions }) => subscriptions.has(filter))
    return Readable.from(all.map(({ name }) => name))
  }

  async outgoingEnqueue({ clientId }: { readonly clientId: string }, packet: StoredPacket): Promise<void> {
    await this.outgoingEnqueueCombi([{ clientId }], packet)
  }

  async outgoingEnqueueCombi(
    subscriptions: readonly { readonly clientId: string }[],
    packet: StoredPacket,
  ): Promise<void> {
    for (const { clientId } of subscriptions) {
      const session = this.#session(clientId)
      const message = published(packet)
      const [payload, qos] = [Buffer.from(message.payload), message.qos === 2 ? 2 : 1] as const
      const entry = session.enqueue({ ...message, payload, qos, at: 1, ids: undefined, group: undefined })
      this.sessions.recorder.queued([{ session, entry }], entry, 0)
      this.#given.set(entry, { ...packet })
    }
  }

  /** Gives a queued publish a packet id, or replaces the publish by PUBREL. */
  async outgoingUpdate({ id }: ClientRef, packet: StoredPacket): Promise<void> {
    const session = this.#session(id)
    if (packet.cmd === 'pubrel') return void session.received(packet.messageId ?? 0)
    const entry = [...session.unsent].find(one => this.#isFrom(one, packet))
    if (!entry) return
    // Aedes begins packet ids anew with each connection; an id still in flight is not given twice. [MQTT-2.3.1-2]
    let messageId = packet.messageId ?? 0
    while (session.inflight.has(messageId)) messageId = (messageId % 65_535) + 1
    packet.messageId = messageId
    session.unsent.remove(entry)
    session.inflight.add(entry, messageId)
    this.sessions.recorder.recordOf(session, { t: 'num', c: session.name, n: entry.n, m: messageId })
  }

  /** Removes a message that the client has. Without a packet id none is removed, lest another be hit (aedes #543). */
  async outgoingClearMessageId(
    { id }: ClientRef,
    { messageId }: { messageId?: number },
  ): Promise<StoredPacket | undefined> {
    const session = this.sessions.find(id)
    const entry = messageId === undefined ? undefined : session?.inflight.get(messageId)
    if (!session || !entry) return undefined
    const packet = this.#packet(entry, messageId)
    session.inflight.clear(messageId as number)
    return packet
  }

  outgoingStream({ id }: ClientRef): Readable {
    const session = this.sessions.find(id)
    return Readable.from([
      ...[...(session?.inflight.values() ?? [])].map(entry =>
        isReleased(entry) ? { cmd: 'pubrel', messageId: entry.packetId } : this.#packet(entry, entry.packetId),
      ),
      ...[...(session?.unsent ?? [])].map(entry => this.#packet(entry, undefined)),
    ])
  }

  async incomingStorePacket({ id }: ClientRef, packet: StoredPacket): Promise<void> {
    const { cmd, topic, payload, qos, retain, dup, messageId = 0 } = packet
    const session = this.#session(id)
    this.sessions.received(session, messageId)
    const incoming = this.#incoming.get(session) ?? new Map<number, object>()
    this.#incoming.set(session, incoming.set(messageId, { cmd, topic, payload, qos, retain, dup, messageId }))
  }

  async incomingGetPacket({ id }: ClientRef, { messageId = 0 }: { messageId?: number }): Promise<object> {
    const session = this.sessions.find(id)
    if (!session?.incoming.has(messageId)) throw new Error('no such packet')
    return this.#incoming.get(session)?.get(messageId) ?? { messageId }
  }

  async incomingDelPacket({ id }: ClientRef, { messageId = 0 }: { messageId?: number }): Promise<void> {
    const session = this.#session(id)
    await new Promise<void>((resolve, reject) =>
      this.sessions.release(session, messageId, error => (error ? reject(error) : resolve())),
    )
  }

  async cleanIncoming({ id }: ClientRef): Promise<void> {
    const session = this.sessions.find(id)
    if (session) clearIncoming(this.sessions, session)
  }

  async putWill({ id }: ClientRef, packet: StoredPacket): Promise<void> {
    packet.brokerId = this.broker.id
    packet.clientId ??= id
    const { delay = 0, expiry, properties } = packet
    this.sessions.wills.put({ ...published(packet), delay, expiry, properties })
    this.#given.set(this.sessions.wills.of(id) as LastWill, { ...packet })
  }

  async getWill({ id }: ClientRef): Promise<StoredPacket | undefined> {
    return this.#will(this.sessions.wills.of(id))
  }

  async delWill({ id }: ClientRef): Promise<StoredPacket | undefined> {
    return this.#will(this.sessions.wills.delete(id))
  }

  streamWill(brokers: Readonly<Record<string, unknown>> = {}): Readable {
    const wills = this.sessions.wills.all().map(will => this.#will(will) as StoredPacket)
    return Readable.from(wills.filter(({ brokerId = '' }) => !brokers[brokerId]))
  }

  #session(clientId: string): Session {
    return this.sessions.find(clientId) ?? this.sessions.open(clientId, { clean: false, expiry: Infinity }).session
  }

  #subscription(subscription: Subscription): AedesSubscription {
    return { ...this.#given.get(subscription), topic: subscription.filter, qos: subscription.qos }
  }

  #isFrom(entry: Queued, { brokerId, brokerCounter }: StoredPacket): boolean {
    const given = this.#given.get(entry) as StoredPacket | undefined
    return given?.brokerId === brokerId && given?.brokerCounter === brokerCounter
  }

  #packet(entry: Queued, messageId: number | undefined): StoredPacket {
    const { brokerId, brokerCounter, payload = entry.payload } = (this.#given.get(entry) ?? {}) as Partial<StoredPacket>
    const { topic, qos, retain, clientId } = entry
    return {
      cmd: 'publish',
      topic,
      payload: Buffer.isBuffer(payload) ? entry.payload : payload,
      qos,
      retain,
      dup: false,
      ...(brokerId !== undefined && { brokerId }),
      ...(brokerCounter !== undefined && { brokerCounter }),
      ...(clientId && { clientId }),
      messageId,
    }
  }

  #will(will: LastWill | undefined): StoredPacket | undefined {
    if (!will) return undefined
    const { delay: _, expiry: __, properties: ___, ...rest } = will
    return { ...rest, ...this.#given.get(will) } as StoredPacket
  }
}

/** Returns a packet as a publish. The payload may be given as text. */
function published({ topic, payload, qos, retain, clientId = '', user }: StoredPacket): Published {
  const bytes = Buffer.isBuffer(payload) ? payload : Buffer.from(payload)
  return { topic, payload: bytes, qos, retain, clientId, ...(user && { user }) }
}

/** Returns a retained message without fields that are undefined, which the tests of Aedes would find. */
function clientOf({ clientId, change: _, user: __, ...message }: Retained) {
  const said = Object.fromEntries(Object.entries(message).filter(([, value]) => value !== undefined))
  return clientId ? { ...said, clientId } : said
}
