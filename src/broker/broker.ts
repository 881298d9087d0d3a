import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { Aedes, type AedesOptions, type AedesPublishPacket, type Client, type ConnectPacket } from 'aedes'
import aedesPacket from 'aedes-packet'
import { describe } from '../errors.js'
import type { Message, Outward, Publish } from '../model.js'
import { hubTopics, isTopicName, matches, publishFault, tooLong } from '../topics.js'
import { Emitter } from './emitter.js'
import { Gate } from './listeners.js'
import type { StoredPacket } from './session-records.js'
import { Sessions, type SessionsOptions } from './sessions.js'

export interface Presence {
  readonly clientId: string
  readonly user: string
  readonly online: boolean
  /** Microseconds since the epoch. */
  readonly since: number
}

export interface BrokerOptions {
  /** Ascends with every start of the hub; asked once, at the start. */
  readonly id: () => string
  readonly sessions: Pick<SessionsOptions, 'dir' | 'fsync' | 'queueLimit'>
  /** Bytes that may wait for one subscriber. */
  readonly outboxBytes: number
  /** Makes a publish durable; `done` in the order of the calls. An error closes the connection, unacknowledged. */
  readonly accept: (publish: Publish, done: (error: Error | undefined, sequence: number) => void) => void
  /** Resolves when every `accept` so far is done. */
  readonly flush: () => Promise<void>
  /** What the spool holds above a sequence number; asked once, at the start. */
  readonly replay: (after: number) => Iterable<Message>
  readonly now: () => number
  readonly presence: (presence: Presence) => void
  readonly count: (what: 'delivered' | 'dropped' | 'queue_dropped' | 'refused', reason?: string) => void
  readonly log: {
    debug(sentence: string): void
    info(sentence: string): void
    warn(sentence: string): void
  }
}

// Both packages are CommonJS and declare what is a class as a function or a namespace.
const Packet = aedesPacket as unknown as new (original: object, broker?: object) => StoredPacket

/**
 * Aedes with our own way from publish to subscribers. Its QoS 1 path acknowledges before it stores (DESIGN §3.1); so
 * the gate, `authorizePublish`, does all of it when the spool has the message: retained message, queues of absent
 * sessions, live subscribers, in spool order and in one go. What Aedes does afterwards is the acknowledgement.
 */
class GatedAedes extends Aedes {
  #distribute: (packet: object, clientId: string | undefined, sequence: number) => void

  constructor(
    options: AedesOptions,
    distribute: (packet: object, clientId: string | undefined, sequence: number) => void,
  ) {
    super(options)
    this.#distribute = distribute
  }

  // Aedes calls it with the client for what the gate has distributed already, without for its own `$SYS` messages.
  override publish(packet: object, client: unknown, done?: (error?: Error) => void): void {
    if (typeof client === 'function') {
      this.#distribute(packet, undefined, 0)
      ;(client as (error?: Error) => void)()
    } else done?.()
  }
}

export class Broker {
  readonly name = 'broker'
  readonly #options: BrokerOptions
  readonly #sessions: Sessions
  readonly #emitter = new Emitter()
  readonly #aedes: GatedAedes
  readonly #users = new WeakMap<Client, string>()
  /** Clients whose presence is shown: those that publish, leave a will, or keep a session. */
  readonly #devices = new WeakSet<Client>()
  /** Client ids whose retained presence says offline, the longest gone first. */
  readonly #absent = new Set<string>()

  constructor(options: BrokerOptions) {
    this.#options = options
    this.#sessions = new Sessions({
      ...options.sessions,
      permitted: (_client, filter) => mayRead(filter),
      dropped: clientId => {
        options.count('queue_dropped')
        options.log.debug(`the queue of ${clientId} is full; its oldest message went`)
      },
      warn: options.log.warn,
    })
    this.#aedes = new GatedAedes(
      {
        mq: this.#emitter,
        persistence: this.#sessions,
        concurrency: 0,
        connectTimeout: 10_000,
        drainTimeout: 10_000,
        maxTopicLevels: 32,
        preConnect: (_client, packet, done) => {
          const fault = faultOf(packet)
          if (!fault) return done(null, true)
          options.count('refused', 'connect')
          options.log.info(`refused a connection: ${fault}`)
          done(new Error(fault), false)
        },
        authenticate: (client, username, _password, done) => {
          this.#users.set(client, username ?? '')
          done(null, true)
        },
        authorizePublish: (client, packet, done) => {
          // What a hook throws would end the process: it ends this connection instead.
          try {
            this.#authorizePublish(client, packet as unknown as StoredPacket, done)
          } catch (error) {
            options.log.warn(`${client?.id}: a publish to ${packet.topic} failed: ${describe(error)}`)
            done(error instanceof Error ? error : new Error(String(error)))
          }
        },
        authorizeSubscribe: (client, subscription, done) => {
          if (mayRead(subscription.topic)) return done(null, subscription)
          this.#options.count('refused', 'subscribe')
          this.#options.log.info(`refused ${client.id} the subscription of ${subscription.topic}`)
          done(null, null)
        },
        authorizeForward: (client, packet) => this.#forward(client, packet),
        published: (_packet, _client, done) => done(),
      },
      (packet, clientId, sequence) => this.#distribute(packet, clientId, sequence),
    )
  }

  /** Brings back sessions, retained messages and wills, makes good what a crash cost them, then takes connections. */
  async start(): Promise<void> {
    const { id, replay } = this.#options
    this.#aedes.id = id()
    await this.#sessions.load()
    for (const message of replay(this.#sessions.applied)) {
      const { topic, payload, qos, retain, sequence, clientId, packetId } = message
      if (qos === 0 && !retain) continue
      this.#sessions.publish(this.#packet({ topic, payload, qos, retain }, clientId), sequence)
      if (qos === 2 && packetId > 0) this.#sessions.recoverIncoming(clientId, packetId)
    }
    this.#watch()
    await this.#aedes.listen()
    this.#settleAbsent()
  }

  async stop(): Promise<void> {
    await new Promise<void>(resolve => this.#aedes.close(resolve))
    // Clients that left without a goodbye have left wills.
    await this.#options.flush()
    await this.#sessions.stop()
  }

  handle(connection: Duplex, request?: IncomingMessage): void {
    this.#aedes.handle(connection, request)
  }

  /** Distributes a message of the hub at once. For QoS 1 and 2 and retained ones see {@link flushed}. */
  publish(message: Outward): void {
    this.#distribute(message, undefined, 0)
  }

  /** Resolves when all that was published so far is safe in the queues of absent sessions and among the retained. */
  flushed(): Promise<void> {
    return this.#sessions.flush()
  }

  /** The spool has committed up to `sequence`; call it after the `done` of each of its publishes. */
  committed(sequence: number): void {
    this.#sessions.committed(sequence)
  }

  get clients(): number {
    const { clients } = this.#aedes as unknown as { clients: Readonly<{ [id: string]: Client }> }
    return Object.values(clients).filter(client => !client.closed).length
  }

  get retained(): number {
    return this.#sessions.retainedCount
  }

  #authorizePublish(client: Client | null, packet: StoredPacket, done: (error?: Error | null) => void): void {
    const fault = publishFault(packet.topic)
    if (fault) {
      this.#options.count('refused', 'publish')
      this.#options.log.info(`refused a publish of ${client?.id}: ${fault}`)
      done(new Error(fault))
    } else if (client && packet.qos === 2 && packet.messageId !== undefined) {
      // By the time Aedes looks for a retransmission the packet is known, and all that is left to do is PUBREC.
      this.#sessions.receive(client, packet, received => this.#gate(client, packet, received), done)
    } else this.#gate(client, packet, done)
  }

  /** The gate: what passes is in the spool and with every subscriber; only then is it acknowledged. */
  #gate(client: Client | null, packet: StoredPacket, done: (error?: Error) => void): void {
    const clientId = client?.id ?? packet.clientId ?? ''
    if (client) this.#seen(client)
    const gate = client && packet.qos > 0 ? Gate.of(client.conn) : undefined
    gate?.begin()
    this.#options.accept(
      {
        topic: packet.topic,
        // Wills restored from the journal and packets of clients may carry text.
        payload: Buffer.isBuffer(packet.payload) ? packet.payload : Buffer.from(packet.payload),
        qos: packet.qos,
        retain: packet.retain,
        clientId,
        user: (client && this.#users.get(client)) ?? '',
        packetId: packet.qos === 2 ? (packet.messageId ?? 0) : 0,
      },
      (error, sequence) => {
        gate?.end()
        if (error) {
          this.#options.log.debug(`${clientId}: not acknowledged: ${error.message}`)
          return done(error)
        }
        this.#distribute(packet, clientId, sequence)
        done()
      },
    )
  }

  #distribute(publish: object, clientId: string | undefined, sequence: number): void {
    const packet = this.#packet(publish, clientId)
    this.#sessions.publish(packet, sequence)
    this.#emitter.emit(packet as unknown as AedesPublishPacket)
  }

  #packet(publish: object, clientId: string | undefined): StoredPacket {
    const packet = new Packet(publish, this.#aedes)
    // DUP belongs to one hop, not to the message. [MQTT-3.3.1-3]
    packet.dup = false
    if (clientId !== undefined) packet.clientId = clientId
    return packet
  }

  /** Asked for every delivery: a subscriber that does not read loses QoS 0 first, then its connection. */
  #forward(client: Client, packet: AedesPublishPacket): AedesPublishPacket | null {
    const { outboxBytes, count, log } = this.#options
    // While the queue of a session is streamed to it, what comes in waits in that queue: it must not overtake.
    if (!client.clean && !client.connected && packet.qos > 0 && packet.messageId === undefined) return null
    const waiting = client.conn.writableLength
    if (waiting > outboxBytes) {
      if (Math.min(packet.qos, grantedQoS(client, packet.topic)) === 0) {
        count('dropped')
        return null
      }
      if (waiting > outboxBytes * 4) {
        if (!client.conn.destroyed) {
          count('refused', 'slow_consumer')
          log.info(`${client.id} does not read: disconnected with ${waiting} bytes waiting`)
          client.conn.destroy()
        }
        // Not null: Aedes would take it out of the session's queue.
        return packet
      }
    }
    count('delivered')
    return packet
  }

  #watch(): void {
    const { log, count } = this.#options
    // Without a listener an 'error' ends the process.
    this.#aedes.on('error' as 'closed', ((error: unknown) => log.warn(`broker: ${describe(error)}`)) as () => void)
    this.#aedes.on('clientReady', client => {
      Gate.of(client.conn)?.open()
      this.#deliverUnsent(client)
      if (!client.clean || (client as Client & { will?: unknown }).will) this.#seen(client)
    })
    this.#aedes.on('clientDisconnect', client => {
      if (this.#devices.has(client)) this.#present(client.id, this.#users.get(client) ?? '', false)
    })
    const failed = (client: Client, error: Error) => {
      count('refused', 'connection_error')
      log.debug(`${client.id || 'a connection'} closed: ${error.message}`)
    }
    this.#aedes.on('clientError', failed)
    this.#aedes.on('connectionError', failed)
  }

  /** What was queued between the end of the queue's stream and now. */
  #deliverUnsent(client: Client): void {
    if (client.clean) return
    const { deliverQoS } = client as Client & { deliverQoS: (packet: StoredPacket, done: () => void) => void }
    for (const packet of this.#sessions.unsent(client.id)) deliverQoS(packet, () => {})
  }

  #seen(client: Client): void {
    if (this.#devices.has(client) || !client.connected) return
    this.#devices.add(client)
    this.#present(client.id, this.#users.get(client) ?? '', true)
  }

  #present(clientId: string, user: string, online: boolean): void {
    this.#absent.delete(clientId)
    if (!online) this.#absent.add(clientId)
    const since = this.#options.now()
    this.#options.presence({ clientId, user, online, since })
    this.publish({
      topic: hubTopics.presence(clientId),
      payload: Buffer.from(JSON.stringify({ clientId, user, online, since: since / 1_000 })),
      qos: 0,
      retain: true,
    })
    this.#forgetAbsent()
  }

  /** Clients with an id of the moment come once: the presence of those longest gone is cleared. */
  #forgetAbsent(): void {
    if (this.#absent.size <= maxAbsent) return
    const longest = this.#absent.values().next().value as string
    this.#absent.delete(longest)
    this.publish({ topic: hubTopics.presence(longest), payload: Buffer.alloc(0), qos: 0, retain: true })
  }

  /** Nobody is connected yet: who was online when the hub went down is offline, and its will is due. [MQTT-3.1.2-8] */
  #settleAbsent(): void {
    for (const { payload } of [...this.#sessions.retainedBy(hubTopics.everyPresence)]) {
      const { clientId, user, online } = JSON.parse(payload.toString()) as {
        clientId: string
        user: string
        online: boolean
      }
      if (online) this.#present(clientId, user, false)
      else this.#absent.add(clientId)
    }
    for (const will of this.#sessions.wills()) {
      this.#gate(null, will, () => void this.#sessions.delWill({ id: will.clientId ?? '' }))
    }
  }
}

/** Clients that are gone and still shown as offline. */
const maxAbsent = 10_000

/** What is wrong with a CONNECT that Aedes would let pass, if anything. */
function faultOf({ clientId, username = '', will }: ConnectPacket): string | undefined {
  if (will && ((will.qos ?? 0) > 2 || !isTopicName(will.topic)))
    return 'a will needs QoS 0, 1 or 2 and a topic without wildcards'
  return tooLong('client id', clientId) ?? tooLong('user name', username) ?? (will && tooLong('will topic', will.topic))
}

/** The highest QoS that the client's subscriptions grant this topic. Slow; for slow subscribers only. */
function grantedQoS(client: Client, topic: string): number {
  const { subscriptions } = client as Client & { subscriptions: Readonly<{ [filter: string]: { qos: number } }> }
  let highest = 0
  for (const filter in subscriptions) {
    if (matches(filter, topic)) highest = Math.max(highest, subscriptions[filter]?.qos ?? 0)
  }
  return highest
}

/** May clients subscribe to this? Shared subscriptions are not spoken; `$SYS` names every client and filter. */
function mayRead(filter: string): boolean {
  return !filter.startsWith('$share/') && !filter.startsWith('$SYS')
}
