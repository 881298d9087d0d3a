import { openSync, readdirSync, readFileSync, renameSync, rmSync, truncateSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { CommitLog, nextFrame, syncDirectory, writeFrames } from '../journal.js'
import type { QoS } from '../model.js'
import { FilterIndex, matches } from '../topics.js'
import { isEmpty, newSession, type OfflineSubscription, onePerClient, type Session, spooled } from './session.js'
import {
  copyPayload,
  decodeRecord,
  encodeRecord,
  head,
  type JournalRecord,
  packetKey,
  parseKey,
  pubrel,
  queued,
  type RecordedSubscription,
  recorded,
  type StoredPacket,
} from './session-records.js'

type Subscription = RecordedSubscription

/** An Aedes client; the suite gives no more than the id. */
interface ClientRef {
  readonly id: string
  readonly clean?: boolean
  readonly closed?: boolean
}

export interface SessionsOptions {
  readonly dir: string
  readonly fsync: 'group' | 'interval'
  /** Messages kept for one absent session; past it the oldest goes. */
  readonly queueLimit: number
  /** May this client's subscription be kept? Aedes hands over refused ones too (research: aedes.md §6.1). */
  readonly permitted: (client: ClientRef, filter: string) => boolean
  /** A session's oldest queued message went because the queue was full. */
  readonly dropped: (clientId: string) => void
  readonly warn: (sentence: string) => void
}

/** QoS 2 publishes of one client that may wait for their PUBREL: MQTT 3.1.1 has no way to tell it of a limit. */
const maxIncoming = 1_000

/** The journal is written anew, from what is in memory, when it has grown past this. */
const journalBytes = 16e6

/**
 * Sessions, offline queues, retained messages, wills and QoS 2 state: Aedes' persistence interface, with memory as
 * the truth. Every call completes at once, so nothing overtakes anything (research: aedes.md §4.1); every change is
 * appended to a journal by group commit. `flush` resolves when the journal has all of it.
 *
 * A crash may cost the journal its last moment although the spool already has the messages of it. Every record
 * therefore carries `q`, the spool sequence up to which everything is in; on start the broker plays the spool from
 * there on again (`applied`).
 *
 *     sessions/0000000007.log     frames of journal.ts, bodies of session-records.ts; begins with a snapshot
 */
export class Sessions {
  readonly #options: SessionsOptions
  readonly #log: CommitLog
  readonly #sessions = new Map<string, Session>()
  readonly #offline = new FilterIndex<OfflineSubscription>()
  readonly #retained = new Map<string, StoredPacket>()
  readonly #wills = new Map<string, StoredPacket>()
  #file = 0
  #applied = 0
  #marked = 0
  /** Spool sequences above `applied` that the journal has in its queues. */
  readonly #queuedBefore = new Set<number>()
  #subscribing: readonly Subscription[] | undefined
  #marker: NodeJS.Timeout | undefined
  /** For Aedes and its test suite. */
  broker: { readonly id: string } = { id: 'hub' }

  constructor(options: SessionsOptions) {
    this.#options = options
    this.#log = new CommitLog({ fsync: options.fsync, rotateBytes: journalBytes, rotate: async () => this.#rewrite() })
  }

  /** Reads the journal. Call before Aedes listens. */
  async load(): Promise<void> {
    const { dir, warn } = this.#options
    await mkdir(dir, { recursive: true })
    const files = readdirSync(dir)
      .filter(name => /^\d{10}\.log$/.test(name))
      .sort()
    const newest = files.at(-1)
    if (newest === undefined) {
      const opened = this.#rewrite()
      this.#log.open(opened.fd, opened.end)
    } else {
      const path = join(dir, newest)
      this.#file = Number(newest.slice(0, 10))
      const buffer = readFileSync(path)
      let end = 0
      for (let frame = nextFrame(buffer, 0); frame; frame = nextFrame(buffer, end)) {
        if (frame.start !== end) warn(`stepped over ${frame.start - end} damaged bytes at ${end} of ${path}`)
        end = frame.end
        const record = decodeRecord(frame.body)
        if (record) this.#apply(record)
      }
      if (end < buffer.length) truncateSync(path, end)
      this.#log.open(openSync(path, 'r+'), end)
      for (const old of files.slice(0, -1)) rmSync(join(dir, old))
    }
    for (const clientId of [...this.#sessions.keys()]) this.#tidy(clientId)
    for (const sequence of this.#queuedBefore) if (sequence <= this.#applied) this.#queuedBefore.delete(sequence)
    this.#marked = this.#applied
    this.#marker = setInterval(() => this.#mark(), 1_000).unref()
  }

  async stop(): Promise<void> {
    clearInterval(this.#marker)
    this.#mark()
    await this.#log.close()
  }

  /** Resolves when all changes so far are on disk. Rejects when the disk refused any of the last ones. */
  async flush(): Promise<void> {
    await new Promise<void>((resolve, reject) =>
      this.#record({ t: 'mark' }, undefined, error => (error ? reject(error) : resolve())),
    )
  }

  /** All publishes up to this spool sequence are in. */
  get applied(): number {
    return this.#applied
  }

  get retainedCount(): number {
    return this.#retained.size
  }

  /** The spool has committed up to `sequence`, and all of it has been published here. */
  committed(sequence: number): void {
    this.#applied = sequence
    // What was played again after a crash is played by now; from here on sequence numbers are new.
    if (this.#queuedBefore.size > 0) this.#queuedBefore.clear()
  }

  /**
   * Takes one publish into the state: retained message and the queues of persistent sessions. Synchronous.
   * `sequence` is its place in the spool, 0 if it has none: published again after a crash, it is queued once.
   * `$hub/last/…` is not journalled: it is made anew from the registry on every start.
   */
  publish(packet: StoredPacket, sequence: number): void {
    if (packet.retain) this.#retain(packet)
    if (packet.qos === 0 || this.#queuedBefore.has(sequence)) return
    const subscriptions = this.#offline.match(packet.topic)
    if (subscriptions.length > 0) this.#enqueue(subscriptions, packet, sequence)
  }

  /** A spooled QoS 2 publish of before the crash: its retransmission must be recognised. */
  recoverIncoming(clientId: string, packetId: number): void {
    this.#session(clientId).incoming.set(packetId, spooled)
  }

  /** The retained messages a filter matches. */
  *retainedBy(filter: string): Generator<StoredPacket> {
    if (!filter.includes('+') && !filter.includes('#')) {
      const packet = this.#retained.get(filter)
      if (packet) yield packet
      return
    }
    for (const packet of this.#retained.values()) if (matches(filter, packet.topic)) yield packet
  }

  /** Wills of clients that were connected when the hub last stopped without a goodbye. */
  wills(): readonly StoredPacket[] {
    return [...this.#wills.values()]
  }

  // — Aedes' persistence interface —

  async setup(broker: { readonly id: string }): Promise<void> {
    this.broker = broker
  }

  async destroy(): Promise<void> {
    await this.stop()
  }

  async storeRetained(packet: StoredPacket): Promise<void> {
    this.#retain(packet)
  }

  createRetainedStream(filter: string): Readable {
    return Readable.from(this.retainedBy(filter))
  }

  createRetainedStreamCombi(filters: readonly string[]): Readable {
    const all = [...new Set(filters.flatMap(filter => [...this.retainedBy(filter)]))]
    return Readable.from(all)
  }

  async addSubscriptions(client: ClientRef, subscriptions: readonly Subscription[]): Promise<void> {
    // Aedes hands over the whole SUBSCRIBE once for every filter in it, all in one go.
    if (this.#subscribing === subscriptions) return
    this.#subscribing = subscriptions
    queueMicrotask(() => {
      this.#subscribing = undefined
    })
    const kept = subscriptions.filter(({ topic }) => this.#options.permitted(client, topic)).map(recorded)
    for (const subscription of kept) this.#subscribe(client.id, subscription)
    this.#record({ t: 'sub', c: client.id, s: kept })
  }

  async removeSubscriptions(client: ClientRef, filters: readonly string[]): Promise<void> {
    for (const filter of filters) this.#unsubscribe(client.id, filter)
    this.#record({ t: 'unsub', c: client.id, f: [...filters] })
  }

  async cleanSubscriptions(client: ClientRef): Promise<void> {
    if (!this.#sessions.has(client.id)) return
    this.#forget(client.id)
    this.#record({ t: 'forget', c: client.id })
  }

  async subscriptionsByClient(client: ClientRef): Promise<Subscription[]> {
    return [...(this.#sessions.get(client.id)?.subscriptions.values() ?? [])].map(s => ({ ...s }))
  }

  async subscriptionsByTopic(topic: string): Promise<OfflineSubscription[]> {
    return [...this.#offline.match(topic)]
  }

  async countOffline(): Promise<{ subsCount: number; clientsCount: number }> {
    let subsCount = 0
    let clientsCount = 0
    for (const session of this.#sessions.values()) {
      subsCount += session.filed.size
      if (session.subscriptions.size > 0) clientsCount++
    }
    return { subsCount, clientsCount }
  }

  getClientList(filter: string): Readable {
    return Readable.from([...this.#sessions].filter(([, s]) => s.subscriptions.has(filter)).map(([id]) => id))
  }

  async outgoingEnqueue(subscription: { readonly clientId: string }, packet: StoredPacket): Promise<void> {
    this.#enqueue([{ clientId: subscription.clientId, topic: packet.topic, qos: packet.qos }], packet)
  }

  async outgoingEnqueueCombi(
    subscriptions: readonly { readonly clientId: string; readonly topic: string; readonly qos?: QoS }[],
    packet: StoredPacket,
  ): Promise<void> {
    this.#enqueue(
      subscriptions.map(s => ({ ...s, qos: s.qos ?? packet.qos })),
      packet,
    )
  }

  /** Gives a queued publish its packet id, or replaces it by its PUBREL. */
  async outgoingUpdate(client: ClientRef, packet: StoredPacket): Promise<void> {
    const session = this.#sessions.get(client.id)
    const { messageId = 0 } = packet
    const named = packetKey(packet)
    const byName = session?.outgoing.get(named)
    const key = byName ? named : session?.byMessageId.get(messageId)
    // A PUBREC for what was never queued (a retained message) is answered all the same, and a packet that has left a
    // full queue meanwhile is still delivered: neither is a reason to disconnect, which is what an error would do.
    if (!session || key === undefined) return
    if (packet.cmd === 'pubrel') {
      session.outgoing.set(key, packet)
      this.#record({ t: 'rel', c: client.id, m: messageId })
    } else if (byName) {
      if (byName.messageId !== undefined) session.byMessageId.delete(byName.messageId)
      // Aedes begins its ids anew with each connection; one that is still in flight must not be given twice. [MQTT-2.3.1-2]
      let id = messageId
      while (session.byMessageId.has(id)) id = (id % 65_535) + 1
      packet.messageId = id
      this.#number(session, key, byName, id)
      this.#record({ t: 'num', c: client.id, ...parseKey(key), m: id })
    }
  }

  /** The client has it. A call without a packet id clears nothing: it would hit another message (aedes #543). */
  async outgoingClearMessageId(client: ClientRef, packet: { messageId?: number }): Promise<StoredPacket | undefined> {
    const session = this.#sessions.get(client.id)
    if (!session || packet.messageId === undefined) return undefined
    const cleared = this.#acknowledge(session, packet.messageId)
    if (cleared) this.#record({ t: 'ack', c: client.id, m: packet.messageId })
    return cleared
  }

  outgoingStream(client: ClientRef): Readable {
    // The map itself, not a copy: what is queued while the stream runs comes behind it, in order.
    return Readable.from(this.#sessions.get(client.id)?.outgoing.values() ?? [])
  }

  /** What is queued for a client and was not sent on this connection or another: what came while its queue was streamed. */
  unsent(clientId: string): StoredPacket[] {
    return [...(this.#sessions.get(clientId)?.outgoing.values() ?? [])].filter(packet => packet.messageId === undefined)
  }

  /**
   * A QoS 2 publish arrives. The first time, `accept` is to make it durable; a retransmission is recognised and only
   * waits for that. `done` runs when PUBREC may be sent; with an error it must not be, and the publish may come again.
   */
  receive(
    client: ClientRef,
    packet: StoredPacket,
    accept: (done: (error?: Error) => void) => void,
    done: (error?: Error) => void,
  ): void {
    const session = this.#session(client.id)
    const id = packet.messageId ?? 0
    // By its packet id alone: DUP is not set by every client that retransmits, and an id is only free again after a
    // PUBCOMP, which is not sent before the release is on disk. [MQTT-4.3.3-2]
    if (session.incoming.has(id)) {
      done()
      return
    }
    const accepting = session.accepting.get(id)
    if (accepting) {
      accepting.push(done)
      return
    }
    if (session.incoming.size + session.accepting.size >= maxIncoming) {
      done(new Error(`more than ${maxIncoming} QoS 2 publishes are waiting for their PUBREL`))
      return
    }
    const waiting = [done]
    session.accepting.set(id, waiting)
    accept(error => {
      session.accepting.delete(id)
      // A clean session ends with its connection, and its packet ids with it. [MQTT-3.1.2-6]
      if (!error && !(client.clean && client.closed)) this.#received(client.id, id, spooled)
      for (const each of waiting) each(error)
    })
  }

  /** For Aedes' sake; `receive` has done it by the time Aedes asks. */
  async incomingStorePacket(client: ClientRef, packet: StoredPacket): Promise<void> {
    const id = packet.messageId ?? 0
    this.#received(client.id, id, { ...queued(packet), messageId: id })
  }

  async incomingGetPacket(client: ClientRef, packet: StoredPacket): Promise<StoredPacket | { messageId: number }> {
    const session = this.#sessions.get(client.id)
    const id = packet.messageId ?? 0
    const known = session?.incoming.get(id)
    if (!known) throw new Error('no such packet')
    return known === spooled ? { messageId: id } : known
  }

  /** Resolves when the release is on disk: after PUBCOMP the client may use the packet id again. */
  async incomingDelPacket(client: ClientRef, packet: { messageId?: number }): Promise<void> {
    const id = packet.messageId ?? 0
    if (!this.#sessions.get(client.id)?.incoming.delete(id)) throw new Error('no such packet')
    await new Promise<void>((resolve, reject) =>
      this.#record({ t: 'out', c: client.id, m: id }, undefined, error => (error ? reject(error) : resolve())),
    )
  }

  async cleanIncoming(client: ClientRef): Promise<void> {
    const session = this.#sessions.get(client.id)
    if (session && session.incoming.size > 0) {
      session.incoming.clear()
      this.#record({ t: 'clear', c: client.id })
    }
    this.#tidy(client.id)
  }

  async putWill(client: ClientRef, packet: StoredPacket): Promise<void> {
    packet.brokerId = this.broker.id
    packet.clientId = client.id
    this.#wills.set(client.id, copyPayload(packet))
    this.#record({ t: 'will', c: client.id, p: head(packet) }, packet.payload)
  }

  async getWill(client: ClientRef): Promise<StoredPacket | undefined> {
    return this.#wills.get(client.id)
  }

  async delWill(client: ClientRef): Promise<StoredPacket | undefined> {
    const will = this.#wills.get(client.id)
    if (!will) return undefined
    this.#wills.delete(client.id)
    this.#record({ t: 'unwill', c: client.id })
    return will
  }

  streamWill(brokers: Readonly<Record<string, unknown>> = {}): Readable {
    return Readable.from([...this.#wills.values()].filter(will => !brokers[will.brokerId ?? '']))
  }

  // — the state —

  #session(clientId: string): Session {
    let session = this.#sessions.get(clientId)
    if (!session) {
      session = newSession()
      this.#sessions.set(clientId, session)
    }
    return session
  }

  #received(clientId: string, id: number, packet: StoredPacket | typeof spooled): void {
    this.#session(clientId).incoming.set(id, packet)
    this.#record({ t: 'in', c: clientId, m: id })
  }

  /** A session that holds nothing is none. */
  #tidy(clientId: string): void {
    const session = this.#sessions.get(clientId)
    if (session && isEmpty(session)) this.#sessions.delete(clientId)
  }

  #forget(clientId: string): void {
    const session = this.#sessions.get(clientId)
    for (const [filter, filed] of session?.filed ?? []) this.#offline.remove(filter, filed)
    this.#sessions.delete(clientId)
  }

  #subscribe(clientId: string, subscription: Subscription): void {
    const session = this.#session(clientId)
    const { topic } = subscription
    const filed = session.filed.get(topic)
    if (filed) {
      this.#offline.remove(topic, filed)
      session.filed.delete(topic)
    }
    session.subscriptions.set(topic, subscription)
    if (subscription.qos === 0) return
    const offline = { ...subscription, clientId }
    session.filed.set(topic, offline)
    this.#offline.add(topic, offline)
  }

  #unsubscribe(clientId: string, filter: string): void {
    const session = this.#sessions.get(clientId)
    if (!session) return
    session.subscriptions.delete(filter)
    const filed = session.filed.get(filter)
    if (filed) this.#offline.remove(filter, filed)
    session.filed.delete(filter)
  }

  #retain(packet: StoredPacket): void {
    const { topic } = packet
    if (packet.payload.length === 0) this.#retained.delete(topic)
    else this.#retained.set(topic, copyPayload(packet))
    if (!topic.startsWith('$hub/last/')) this.#record({ t: 'ret', p: head(packet) }, packet.payload)
  }

  #enqueue(subscriptions: readonly OfflineSubscription[], packet: StoredPacket, sequence = 0): void {
    const wanted = onePerClient(subscriptions).map(({ clientId, qos }) => ({
      c: clientId,
      o: Math.min(qos, packet.qos) as QoS,
    }))
    const copy = queued(packet)
    for (const { c, o } of wanted) this.#queue(c, { ...copy, qos: o })
    this.#record({ t: 'enq', to: wanted, x: sequence, p: head(packet) }, copy.payload)
  }

  #queue(clientId: string, packet: StoredPacket): void {
    const session = this.#session(clientId)
    session.outgoing.set(packetKey(packet), packet)
    if (session.outgoing.size <= this.#options.queueLimit) return
    const [key, oldest] = session.outgoing.entries().next().value as [string, StoredPacket]
    session.outgoing.delete(key)
    if (oldest.messageId !== undefined) session.byMessageId.delete(oldest.messageId)
    this.#options.dropped(clientId)
  }

  #number(session: Session, key: string, queued: StoredPacket, messageId: number): void {
    queued.messageId = messageId
    session.byMessageId.set(messageId, key)
  }

  #acknowledge(session: Session, messageId: number): StoredPacket | undefined {
    const key = session.byMessageId.get(messageId)
    if (key === undefined) return undefined
    const packet = session.outgoing.get(key)
    session.byMessageId.delete(messageId)
    session.outgoing.delete(key)
    return packet
  }

  // — the journal —

  #record(record: JournalRecord, payload?: Buffer, done?: (error?: Error) => void): void {
    const bytes = encodeRecord({ ...record, q: this.#applied }, payload)
    this.#marked = this.#applied
    this.#log.append(bytes.length, (target, at) => bytes.copy(target, at), done)
  }

  #mark(): void {
    if (this.#applied > this.#marked) this.#record({ t: 'mark' })
  }

  #apply({ record, payload }: { record: JournalRecord; payload: Buffer }): void {
    if (record.q !== undefined && record.q > this.#applied) this.#applied = record.q
    switch (record.t) {
      case 'mark':
        return
      case 'sub':
        for (const subscription of record.s) this.#subscribe(record.c, subscription)
        return
      case 'unsub':
        for (const filter of record.f) this.#unsubscribe(record.c, filter)
        return
      case 'forget':
        this.#forget(record.c)
        return
      case 'ret':
        if (payload.length === 0) this.#retained.delete(record.p.topic)
        else this.#retained.set(record.p.topic, { ...record.p, payload: Buffer.from(payload) })
        return
      case 'enq': {
        const copy = Buffer.from(payload)
        if (record.x > 0) this.#queuedBefore.add(record.x)
        for (const { c, o } of record.to) this.#queue(c, { ...record.p, qos: o, payload: copy, messageId: undefined })
        return
      }
      case 'num': {
        const session = this.#session(record.c)
        const key = packetKey({ brokerId: record.b, brokerCounter: record.n })
        const queued = session.outgoing.get(key)
        if (queued) this.#number(session, key, queued, record.m)
        return
      }
      case 'rel': {
        const session = this.#session(record.c)
        const key = session.byMessageId.get(record.m)
        if (key !== undefined) session.outgoing.set(key, pubrel(record.m))
        return
      }
      case 'ack':
        this.#acknowledge(this.#session(record.c), record.m)
        return
      case 'in':
        this.#session(record.c).incoming.set(record.m, spooled)
        return
      case 'out':
        this.#session(record.c).incoming.delete(record.m)
        return
      case 'clear':
        this.#session(record.c).incoming.clear()
        return
      case 'will':
        this.#wills.set(record.c, { ...record.p, payload: Buffer.from(payload) })
        return
      case 'unwill':
        this.#wills.delete(record.c)
    }
  }

  /** The state as records, in an order that rebuilds it. */
  *#snapshot(): Generator<Buffer> {
    yield encodeRecord({ t: 'mark', q: this.#applied })
    for (const [topic, packet] of this.#retained) {
      if (!topic.startsWith('$hub/last/')) yield encodeRecord({ t: 'ret', p: head(packet) }, packet.payload)
    }
    for (const [c, will] of this.#wills) yield encodeRecord({ t: 'will', c, p: head(will) }, will.payload)
    for (const [c, session] of this.#sessions) {
      if (session.subscriptions.size > 0) yield encodeRecord({ t: 'sub', c, s: [...session.subscriptions.values()] })
      for (const [key, packet] of session.outgoing) {
        const { b, n } = parseKey(key)
        const p = { ...head(packet), brokerId: b, brokerCounter: n }
        yield encodeRecord({ t: 'enq', to: [{ c, o: packet.qos }], x: 0, p }, packet.payload)
        if (packet.messageId === undefined) continue
        yield encodeRecord({ t: 'num', c, b, n, m: packet.messageId })
        if (packet.cmd === 'pubrel') yield encodeRecord({ t: 'rel', c, m: packet.messageId })
      }
      for (const m of session.incoming.keys()) yield encodeRecord({ t: 'in', c, m })
    }
  }

  /** Begins a new journal file with a snapshot; the file is complete and synced before it gets its name. */
  #rewrite(): { fd: number; end: number } {
    const { dir } = this.#options
    const path = join(dir, `${String(++this.#file).padStart(10, '0')}.log`)
    const fd = openSync(`${path}.new`, 'w+')
    const end = writeFrames(fd, this.#snapshot())
    renameSync(`${path}.new`, path)
    syncDirectory(dir)
    rmSync(join(dir, `${String(this.#file - 1).padStart(10, '0')}.log`), { force: true })
    return { fd, end }
  }
}
