import { describe } from '../errors.js'
import type { Message, Outward, PendingPublish } from '../model.js'
import { hubTopics, publishFault, tooDeep, tooLong } from '../topics.js'
import { Client, type ClientBroker } from './client.js'
import type { Connection, Protocol, Traffic } from './connection.js'
import { Control } from './control.js'
import { PublishReader } from './packets.js'
import { type Dropped, type Published, Sessions, type SessionsOptions } from './sessions.js'
import { SysTopics } from './statistics.js'

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
  readonly version: string
  readonly sessions: Omit<SessionsOptions, 'now' | 'dropped' | 'warn'>
  /** Subscriptions of one client. */
  readonly subscriptions: number
  /** How often `$SYS` is published, in milliseconds; 0 is never. */
  readonly sysMs: number
  readonly sysReadable: boolean
  /** Makes a publish durable; what comes of it is for {@link Broker.settled}. */
  readonly accept: (publish: PendingPublish, inOrder: boolean) => void
  /** Resolves when every `accept` so far is settled. */
  readonly flush: () => Promise<void>
  /** What the spool holds above a sequence number; asked once, at the start. */
  readonly replay: (after: number) => Iterable<Message>
  /** Microseconds since the epoch. */
  readonly now: () => number
  readonly presence: (presence: Presence) => void
  /** A publish or a subscription was refused. */
  readonly refused: (action: 'publish' | 'subscribe', clientId: string) => void
  /** Something acknowledged was given up, for want of room or by age. */
  readonly dropped: (what: Dropped) => void
  /** For `$SYS`: what the connections and the ingest count. */
  readonly statistics: () => {
    readonly traffic: Traffic
    readonly received: number
    readonly receivedBytes: number
    readonly dropped: number
  }
  readonly log: {
    debug(sentence: string): void
    info(sentence: string): void
    warn(sentence: string): void
  }
}

/** Of all topic filters of one client together: kept sessions are there after the next start, too. */
const maxFilterLength = 500_000

/** Clients that are gone and still shown as offline, and refusals still shown. */
const maxShown = 10_000

/**
 * The MQTT broker: connections speak through {@link Client}s, Aedes decides who may connect, sessions deliver. The
 * gate is `accept`: what passes it is in the spool, then among the retained, in the queues of absent sessions and on
 * its way to subscribers, in spool order and in one go; only then is it acknowledged.
 */
export class Broker {
  readonly name = 'broker'
  readonly #options: BrokerOptions
  readonly #sessions: Sessions
  readonly #control: Control
  readonly #forClients: ClientBroker
  readonly #connected = new Set<Client>()
  /** Client ids whose retained presence says offline, the longest gone first. */
  readonly #absent = new Set<string>()
  /** Client ids with a refusal retained. */
  readonly #refusals = new Set<string>()
  readonly #sys = new SysTopics()
  readonly #sysSent = new Map<string, string>()
  readonly #startedAt = performance.now()
  #sysTimer: NodeJS.Timeout | undefined
  #maximum = 0
  #expired = 0

  constructor(options: BrokerOptions) {
    this.#options = options
    const { log } = options
    this.#sessions = new Sessions({
      ...options.sessions,
      now: () => Math.floor(options.now() / 1_000),
      dropped: (what, clientId) => this.#dropped(what, clientId),
      warn: log.warn,
    })
    this.#control = new Control({
      sessions: this.#sessions,
      authenticate: (client, username) => {
        ;(client as Client).user = username
        return true
      },
      will: (client, will, done) => this.#will(client as Client | undefined, will, done),
      log: log.debug,
    })
    this.#forClients = {
      sessions: this.#sessions,
      reader: new PublishReader(),
      open: client => this.#control.open(client),
      accept: options.accept,
      publishFault: (_client, topic) => (topic.charCodeAt(0) === 36 ? publishFault(topic) : undefined),
      subscribeFault: (client, filter) => this.#subscribeFault(client, filter),
      refused: (client, action, topic, reason) => this.#refused(client, action, topic, reason),
      connected: client => this.#isConnected(client),
      left: client => this.#left(client),
      seen: client => this.#seen(client),
      debug: log.debug,
    }
  }

  /** Brings back sessions, retained messages and wills, makes good what a crash cost them, then takes connections. */
  async start(): Promise<void> {
    const { id, replay, sysMs } = this.#options
    await this.#sessions.load()
    let last = this.#sessions.applied
    for (const message of replay(last)) {
      const { qos, retain, sequence, clientId, packetId } = message
      last = sequence
      if (qos === 0 && !retain) continue
      this.#sessions.publish(message, sequence)
      if (qos === 2 && packetId > 0) this.#sessions.recoverIncoming(clientId, packetId)
    }
    // Played again after the next crash, too, it would bring back packet ids that were released meanwhile.
    this.#sessions.committed(last)
    await this.#control.start(id())
    this.#settleAbsent()
    if (sysMs === 0) return
    this.#publishSys()
    this.#sysTimer = setInterval(() => this.#publishSys(), sysMs).unref()
  }

  async stop(): Promise<void> {
    clearInterval(this.#sysTimer)
    await this.#control.stop()
    // Clients that left without a goodbye have left wills.
    await this.#options.flush()
    await this.#sessions.stop()
  }

  /** What speaks MQTT over a connection. */
  protocol(connection: Connection): Protocol {
    return new Client(connection, this.#forClients)
  }

  /** Distributes a message of the hub at once. For QoS 1 and 2 and retained ones see {@link flushed}. */
  publish(message: Outward): void {
    this.#sessions.publish({ ...message, clientId: '' }, 0)
  }

  /** Resolves when all that was published so far is safe in the queues of absent sessions and among the retained. */
  flushed(): Promise<void> {
    return this.#sessions.flush()
  }

  /** The spool has a publish, at `sequence`, or refused it: in the order of `accept`. */
  settled(publish: PendingPublish, error: Error | undefined, sequence: number): void {
    if (!error) this.#sessions.publish(publish, sequence)
    publish.settle(error)
  }

  /** The spool has committed up to `sequence`; call it when each of its publishes is settled. */
  committed(sequence: number): void {
    this.#sessions.committed(sequence)
  }

  get clients(): number {
    return this.#connected.size
  }

  get counts(): Sessions['counts'] {
    return this.#sessions.counts
  }

  #will(client: Client | undefined, will: Published, done: (error: Error | undefined) => void): void {
    const fault = publishFault(will.topic)
    if (fault) {
      if (client) this.#refused(client, 'publish', will.topic, fault)
      done(new Error(fault))
    } else this.#options.accept({ ...will, user: client?.user ?? '', packetId: 0, settle: done }, true)
  }

  #subscribeFault(client: Client, filter: string): string | undefined {
    const large = tooLong('topic filter', filter) ?? tooDeep('topic filter', filter)
    if (large) return large
    if (filter.startsWith('$share/')) {
      return 'shared subscriptions are not spoken: subscribe to the filter without $share/{group}/, or consume from RabbitMQ'
    }
    if (filter.startsWith('$SYS') && !this.#options.sysReadable) return '$SYS may not be read (sys.read)'
    const { subscriptions, filterLength = 0 } = client.session ?? {}
    if (filterLength + filter.length > maxFilterLength)
      return `topic filters of more than ${maxFilterLength} characters in all`
    if (subscriptions && subscriptions.size >= this.#options.subscriptions && !subscriptions.has(filter)) {
      return `more than ${this.#options.subscriptions} subscriptions (limits.subscriptions)`
    }
    return undefined
  }

  /** Counted, logged, and retained under `$hub/why/{clientId}`, where its developer will look. */
  #refused(client: Client, action: 'publish' | 'subscribe', topic: string, reason: string): void {
    const { id, user } = client
    this.#options.refused(action, id)
    this.#options.log.info(`refused ${short(id)} to ${action} ${short(topic)}: ${short(reason)}`)
    if (isTooLongToShow(id)) return
    this.#refusals.delete(id)
    this.#refusals.add(id)
    const time = Math.floor(this.#options.now() / 1_000)
    const said = { clientId: id, user: short(user), action, topic: short(topic), reason: short(reason), time }
    this.#show(hubTopics.why(id), said)
    if (this.#refusals.size <= maxShown) return
    const oldest = this.#refusals.values().next().value as string
    this.#refusals.delete(oldest)
    this.#show(hubTopics.why(oldest))
  }

  #dropped(what: Dropped, clientId: string): void {
    this.#options.dropped(what)
    if (what === 'session_age') this.#expired++
    this.#options.log.debug(`${clientId}: ${droppedSentences[what]}`)
  }

  // — presence —

  #isConnected(client: Client): void {
    this.#connected.add(client)
    this.#maximum = Math.max(this.#maximum, this.#connected.size)
    if (client.connect?.clean === false || client.connect?.will) this.#seen(client)
  }

  /** Its presence is shown: those that publish, leave a will, or keep a session. */
  #seen(client: Client): void {
    if (client.isShown || !this.#connected.has(client) || isTooLongToShow(client.id)) return
    client.isShown = true
    this.#present(client.id, client.user, true)
  }

  #left(client: Client): void {
    if (this.#connected.delete(client) && client.isShown) this.#present(client.id, client.user, false)
  }

  #present(clientId: string, user: string, online: boolean): void {
    this.#absent.delete(clientId)
    if (!online) this.#absent.add(clientId)
    const since = this.#options.now()
    this.#options.presence({ clientId, user, online, since })
    this.#show(hubTopics.presence(clientId), { clientId, user, online, since: since / 1_000 })
    this.#forgetAbsent()
  }

  /** Clients with an id of the moment come once: the presence of those longest gone is cleared. */
  #forgetAbsent(): void {
    if (this.#absent.size <= maxShown) return
    const longest = this.#absent.values().next().value as string
    this.#absent.delete(longest)
    this.#show(hubTopics.presence(longest))
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
    for (const { payload } of this.#sessions.retainedBy(hubTopics.everyWhy)) {
      this.#refusals.add((JSON.parse(payload.toString()) as { clientId: string }).clientId)
    }
    for (const will of this.#sessions.wills()) {
      this.#will(undefined, will, error => {
        if (error) this.#options.log.warn(`the will of ${will.clientId}: ${describe(error)}`)
        this.#sessions.deleteWill(will.clientId)
      })
    }
  }

  /** Retains a value, or clears it. */
  #show(topic: string, value?: object): void {
    const payload = value ? Buffer.from(JSON.stringify(value)) : Buffer.alloc(0)
    this.publish({ topic, payload, qos: 0, retain: true })
  }

  #publishSys(): void {
    const { statistics, version, now } = this.#options
    const { traffic, received, receivedBytes, dropped } = statistics()
    const { absent, subscriptions, retained } = this.#sessions.counts
    const topics = this.#sys.at(now() / 1_000, {
      version: `telehub ${version}`,
      uptimeSeconds: (performance.now() - this.#startedAt) / 1_000,
      clients: {
        connected: this.#connected.size,
        disconnected: absent,
        maximum: this.#maximum,
        expired: this.#expired,
      },
      subscriptions,
      retained,
      packets: { received: traffic.packetsIn, sent: traffic.packetsOut },
      publishes: { received, sent: traffic.publishesOut, dropped, bytesReceived: receivedBytes },
      bytes: { received: traffic.bytesIn, sent: traffic.bytesOut },
      heapBytes: process.memoryUsage().heapUsed,
    })
    for (const [topic, value] of topics) {
      if (this.#sysSent.get(topic) === value) continue
      this.#sysSent.set(topic, value)
      this.publish({ topic, payload: Buffer.from(value), qos: 0, retain: true })
    }
  }
}

/** What strangers wrote, fit for a line: neither long nor of several. */
function short(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not pass
  const line = text.replace(/[\u0000-\u001f\u007f]/g, '·')
  return line.length > 200 ? `${line.slice(0, 200)}…` : line
}

/** There are thousands of such topics, for ids of sane length. */
function isTooLongToShow(clientId: string): boolean {
  return clientId.length > 256
}

const droppedSentences: Readonly<Record<Dropped, string>> = {
  queue: 'its queue is full or its oldest message too old (limits.queue…): the oldest went',
  sessions: 'its session went to make room for another (limits.sessions)',
  session_age: 'its session ended, as it was absent for too long (limits.sessionAge)',
  retained: 'a message was not retained: there are as many as may be (limits.retained…)',
}
