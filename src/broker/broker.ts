import type { Authority, Principal } from '../auth/authority.js'
import { type Decision, ruleText } from '../auth/rules.js'
import { describe } from '../errors.js'
import { sparingly } from '../log.js'
import type { Message, Outward, PendingPublish } from '../model.js'
import { hubTopics, isWildcard, publishFault, tooDeep, tooLong } from '../topics.js'
import { Client, type ClientBroker } from './client.js'
import type { Connection, Protocol, Traffic } from './connection.js'
import { Control } from './control.js'
import { type Connect, PublishReader } from './packets.js'
import type { Published } from './session-state.js'
import { type Dropped, Sessions, type SessionsOptions } from './sessions.js'
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
  readonly authority: Pick<Authority, 'open' | 'authenticate' | 'access' | 'clientFault' | 'user'>
  readonly sessions: Omit<SessionsOptions, 'access' | 'now' | 'dropped' | 'warn'>
  /** Subscriptions of one client, and those of them with wildcards. */
  readonly subscriptions: number
  readonly wildcards: number
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
  /** A connection, a publish or a subscription was refused, or a delivery ended. */
  readonly refused: (reason: RefusalReason, clientId: string) => void
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

export type Action = 'connect' | 'publish' | 'subscribe' | 'receive'

/** As it is counted. */
export type RefusalReason = Action | 'bad_credentials' | 'auth_busy'

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
  /** By client id. */
  readonly #connected = new Map<string, Client>()
  /** Client ids whose retained presence says offline, the longest gone first. */
  readonly #absent = new Set<string>()
  /** Client ids with a refusal retained. */
  readonly #refusals = new Set<string>()
  readonly #sys = new SysTopics()
  readonly #sysSent = new Map<string, string>()
  readonly #startedAt = performance.now()
  /** Of refusals, which strangers cause at will. */
  readonly #say: (sentence: string) => void
  #sysTimer: NodeJS.Timeout | undefined
  #maximum = 0
  #expired = 0

  constructor(options: BrokerOptions) {
    this.#options = options
    const { log } = options
    this.#say = sparingly(log.info)
    this.#sessions = new Sessions({
      ...options.sessions,
      access: (user, clientId) => options.authority.access(user, clientId),
      now: () => Math.floor(options.now() / 1_000),
      dropped: (what, clientId) => this.#dropped(what, clientId),
      warn: log.warn,
    })
    this.#control = new Control({
      sessions: this.#sessions,
      will: (client, will, done) => this.#will(client as Client | undefined, will, done),
      log: log.debug,
    })
    this.#forClients = {
      sessions: this.#sessions,
      reader: new PublishReader(),
      authenticate: (client, connect, done) => this.#authenticate(client, connect, done),
      open: client => this.#control.open(client),
      accept: options.accept,
      publishFault: (client, topic) => this.#publishFault(client, topic),
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

  // — who may do what —

  #authenticate(client: Client, connect: Connect, done: (principal: Principal | number) => void): void {
    const { authority } = this.#options
    const { address, certificate } = client.connection.peer
    const { username, password, will } = connect
    const { id } = client
    const refuse = (reason: RefusalReason, code: number, user: string, why: string) => {
      this.#options.refused(reason, id)
      this.#say(`refused ${short(id)} at ${address} to connect: ${short(why)}`)
      // A stranger is neither to make up a device of ours, nor to write on the page of one that is there.
      const isOurs = user !== '' || this.#absent.has(id) || this.#sessions.find(id)?.attached === false
      if (isOurs) this.#tell(id, user, 'connect', user && will ? will.topic : '', user ? why : (unheard[code] ?? why))
      done(code)
    }
    const shown = { address, certificate, username, password: password?.toString() }
    authority.authenticate({ ...shown, isGone: () => client.connection.isClosed }, verdict => {
      if ('refused' in verdict) {
        const isBusy = verdict.refused === 'busy'
        const code = isBusy ? returnCode.unavailable : returnCode.badCredentials
        refuse(isBusy ? 'auth_busy' : 'bad_credentials', code, '', verdict.why)
        return
      }
      const { user } = verdict
      const fault = this.#connectFault(user, id) ?? (will && this.#permissionFault('publish', user, id, will.topic))
      if (fault) refuse('connect', returnCode.notAuthorized, user, fault)
      else done(verdict)
    })
  }

  /** Why a user may not be this client, or not any more. */
  #connectFault(user: string, clientId: string): string | undefined {
    return this.#options.authority.clientFault(user, clientId) ?? this.#takeoverFault(user, clientId)
  }

  /** A session, kept or connected, belongs to the user who began it. */
  #takeoverFault(user: string, clientId: string): string | undefined {
    const { authority } = this.#options
    if (authority.open) return undefined
    const owner = this.#connected.get(clientId)?.user ?? this.#sessions.find(clientId)?.user
    if (owner === undefined || owner === user || !authority.user(owner)) return undefined
    return `client id ${clientId} is in use by user ${owner}`
  }

  #permissionFault(verb: 'publish' | 'subscribe', user: string, clientId: string, topic: string): string | undefined {
    const access = this.#options.authority.access(user, clientId)
    return access && faultOf(access[verb](topic), user)
  }

  #publishFault(client: Client, topic: string): string | undefined {
    if (topic.charCodeAt(0) === 36) return publishFault(topic)
    const access = client.session?.access
    if (!access || access.mayPublish(topic)) return undefined
    return faultOf(access.publish(topic), client.user)
  }

  /** Users or their rights have changed: closes who may not be here, narrows what the others may do. */
  reconsider(): void {
    this.#sessions.reconsider()
    for (const client of this.#connected.values()) {
      const { session, user } = client
      if (!session) continue
      if (!session.durable) this.#sessions.permit(session)
      const silent = [...session.subscriptions.values()].find(({ reach }) => reach === 'none')
      if (!silent) continue
      const fault = faultOf(session.access?.subscribe(silent.filter), user) ?? ''
      this.#refused(client, 'receive', silent.filter, fault)
    }
    this.dismiss()
  }

  /** Closes who is no longer let in. */
  dismiss(): void {
    const { authority } = this.#options
    for (const client of [...this.#connected.values()]) {
      const fault = client.isValid() ? authority.clientFault(client.user, client.id) : noLonger
      if (fault) this.#dismiss(client, fault)
    }
  }

  #dismiss(client: Client, fault: string): void {
    this.#refused(client, 'connect', '', fault)
    client.connection.end()
  }

  #will(client: Client | undefined, will: Published, done: (error: Error | undefined) => void): void {
    const { clientId } = will
    const user = client?.user ?? will.user ?? ''
    const fault = publishFault(will.topic) ?? this.#permissionFault('publish', user, clientId, will.topic)
    if (!fault) {
      this.#options.accept({ ...will, user, packetId: 0, settle: done }, true)
      return
    }
    this.#options.refused('publish', clientId)
    this.#options.log.info(`the will of ${short(clientId)} on ${short(will.topic)} is refused: ${short(fault)}`)
    this.#tell(clientId, user, 'publish', will.topic, fault)
    done(new Error(fault))
  }

  #subscribeFault(client: Client, filter: string): string | undefined {
    const large = tooLong('topic filter', filter) ?? tooDeep('topic filter', filter)
    if (large) return large
    if (filter.startsWith('$share/')) {
      return 'shared subscriptions are not spoken: subscribe to the filter without $share/{group}/, or consume from RabbitMQ'
    }
    if (filter.startsWith('$SYS') && !this.#options.sysReadable) return '$SYS may not be read (sys.read)'
    const { session, user } = client
    if (!session) return undefined
    const { subscriptions, filterLength, access } = session
    const decision = access?.subscribe(filter)
    if (decision && !decision.allowed) return faultOf(decision, user)
    if (subscriptions.has(filter)) return undefined
    if (filterLength + filter.length > maxFilterLength)
      return `topic filters of more than ${maxFilterLength} characters in all`
    if (subscriptions.size >= this.#options.subscriptions) {
      return `more than ${this.#options.subscriptions} subscriptions (limits.subscriptions)`
    }
    const own = this.#options.authority.user(user)?.wildcards
    const wildcards = own ?? this.#options.wildcards
    if (isWildcard(filter) && session.wildcards >= wildcards) {
      const whose = own === undefined ? 'limits.wildcards' : `wildcards of user ${user}`
      return `more than ${wildcards} subscriptions with + or # (${whose})`
    }
    return undefined
  }

  /** Counted, and said at most once a second for each client: it may be refused a hundred thousand times. */
  #refused(client: Client, action: Action, topic: string, reason: string): void {
    const { id, user } = client
    this.#options.refused(action, id)
    const now = this.#options.now()
    if (action === 'publish' && now - client.refusedAt < 1e6) return
    client.refusedAt = now
    this.#say(`refused ${short(id)} to ${action}${topic && ` ${short(topic)}`}: ${short(reason)}`)
    this.#tell(id, user, action, topic, reason)
  }

  /** Retained under `$hub/why/{clientId}`, where its developer will look. */
  #tell(clientId: string, user: string, action: Action, topic: string, reason: string): void {
    if (isTooLongToShow(clientId)) return
    this.#refusals.delete(clientId)
    this.#refusals.add(clientId)
    const time = Math.floor(this.#options.now() / 1_000)
    const said = { clientId, user: short(user), action, topic: short(topic), reason: short(reason), time }
    this.#show(hubTopics.why(clientId), said)
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
    this.#connected.set(client.id, client)
    this.#forgetRefusalOfOthers(client)
    // Its user may have changed between its credentials and now.
    if (!client.isValid()) this.#dismiss(client, noLonger)
    this.#maximum = Math.max(this.#maximum, this.#connected.size)
    if (client.connect?.clean === false || client.connect?.will) this.#seen(client)
  }

  /** Why another user was refused is not for the one who has its client id now. */
  #forgetRefusalOfOthers({ id, user }: Client): void {
    if (this.#options.authority.open || !this.#refusals.has(id)) return
    for (const { payload } of this.#sessions.retainedBy(hubTopics.why(id))) {
      const told = JSON.parse(payload.toString()) as { user: string; action: Action }
      if (told.user === user || told.action === 'connect') continue
      this.#refusals.delete(id)
      this.#show(hubTopics.why(id))
    }
  }

  /** Its presence is shown: those that publish, leave a will, or keep a session. */
  #seen(client: Client): void {
    if (client.isShown || this.#connected.get(client.id) !== client || isTooLongToShow(client.id)) return
    client.isShown = true
    this.#present(client.id, client.user, true)
  }

  #left(client: Client): void {
    if (this.#connected.get(client.id) !== client) return
    this.#connected.delete(client.id)
    if (client.isShown) this.#present(client.id, client.user, false)
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

/** What is shown of a stranger's attempt, by return code: not its own words. */
const unheard: Readonly<Record<number, string>> = {
  3: 'too many wrong passwords, or too many at a time: its own was not heard',
  4: 'wrong user name or password',
}

const noLonger = 'its user is gone, or its password or login is not valid any more'

/** What decided, for the one who wonders why. */
function faultOf(decision: Decision | undefined, user: string): string | undefined {
  if (decision?.allowed) return undefined
  const rule = decision?.rule
  if (!rule) return `no rule of user ${user || '(none)'} allows it`
  return `${ruleText(rule)}${rule.place && ` (${rule.place})`}`
}

/** Of CONNACK. [MQTT-3.2.2.3] */
const returnCode = { unavailable: 3, badCredentials: 4, notAuthorized: 5 } as const

/** There are thousands of such topics, for ids of sane length. */
function isTooLongToShow(clientId: string): boolean {
  return clientId.length > 256
}

const droppedSentences: Readonly<Record<Dropped, string>> = {
  queue: 'its queue is full or its oldest message too old (limits.queue…): the oldest went',
  sessions: 'its session went to make room for another (limits.sessions)',
  session_age: 'its session ended, as it was absent for too long (limits.sessionAge)',
  retained: 'a message was not retained: there are as many as may be (limits.retained…)',
  not_permitted: 'a message of its queue went: it may not read that topic any more',
}
