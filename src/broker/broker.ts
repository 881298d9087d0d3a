import type { Authority, UsersListener } from '../auth/authority.js'
import type { ClientFault } from '../auth/client-ids.js'
import type { LoginListener } from '../auth/logins.js'
import type { Principal, Verdict } from '../auth/principal.js'
import type { Access } from '../auth/rules.js'
import { describe, HubError } from '../errors.js'
import type { DurabilityListener, Outward, PendingPublish, PublishSink } from '../model.js'
import type { ConnectPacket } from '../mqtt/codec.js'
import { PublishReader } from '../mqtt/publish.js'
import { type Fault, reasonCode } from '../mqtt/reason-codes.js'
import type { AlarmCheck } from '../observe/alarms.js'
import type { Auditor } from '../observe/audit.js'
import type { Counters } from '../observe/counters.js'
import type { IncidentReporter } from '../observe/incidents.js'
import type { DebugLog } from '../observe/log.js'
import { rateLimited } from '../observe/log.js'
import type { RefusalCounts } from '../observe/refusal-counts.js'
import type { Backpressure, ReliefListener } from '../runtime/backpressure.js'
import { SharedPool, type Use } from '../runtime/shared-pool.js'
import { inMilliseconds, type MicrosecondClock } from '../runtime/time.js'
import { charge, sliceWork, type Work } from '../runtime/work.js'
import { FanOut } from '../sessions/fan-out.js'
import { nameOf, sessionName } from '../sessions/session-name.js'
import {
  beyondShare,
  type Dropped,
  type LastWill,
  listSessions,
  type Session,
  type SessionFilter,
  type SessionList,
  Sessions,
  type SessionsOptions,
  SubscriptionLimits,
  type SubscriptionLimitsOptions,
  topicsOf,
} from '../sessions/sessions.js'
import { publishFault, sharedFilter, tooDeep, tooLong } from '../topics.js'
import type { Connection, PacketHandler } from '../transport/connection.js'
import type { ProtocolServer } from '../transport/connections.js'
import { AedesHandshake } from './aedes-handshake.js'
import { BridgeStates, bridgeStateOf, bridgeStateTopic } from './bridge-states.js'
import type { Client } from './client.js'
import type { ClientBroker, ClientLimits } from './client-broker.js'
import { ConnectionLog } from './connection-log.js'
import { PacketDispatcher } from './packet-dispatcher.js'
import { droppedSentences, faultOf, genericReasons, noLonger, short } from './sentences.js'
import type { PresenceListener } from './shown-clients.js'
import { type Action, ShownClients } from './shown-clients.js'
import { SysTopics } from './statistics.js'

export interface BrokerOptions {
  /** `brokerId` ascends with every start of the hub. Read at the start. */
  readonly identity: { readonly brokerId: string }
  readonly version: string
  readonly work: Work
  readonly authority: Pick<
    Authority,
    'open' | 'authenticate' | 'exchange' | 'access' | 'clientFault' | 'user' | 'shares'
  >
  readonly sessions: Omit<
    SessionsOptions,
    'access' | 'clock' | 'dropped' | 'willDue' | 'log' | 'work' | 'sharing' | 'incidents' | 'isExpected'
  >
  readonly clients: Omit<ClientLimits, 'sessionExpiry'>
  readonly subscriptions: Omit<SubscriptionLimitsOptions, 'wildcardsOf' | 'pools'>
  /** Clients connected at a time. */
  readonly connections: number
  /** Interval at which `$SYS` is published, in milliseconds; 0 is never. */
  readonly sysMs: number
  readonly sysReadable: boolean
  /** Makes publishes durable; reports the results to the broker. */
  readonly sink: PublishSink
  readonly clock: MicrosecondClock
  readonly presence: PresenceListener
  readonly counters: Counters
  readonly refusals: Pick<RefusalCounts, 'add'>
  readonly audit: Auditor
  readonly incidents: IncidentReporter
  readonly log: DebugLog
}

/** Why a client was refused, as metrics count refusals. */
export type RefusalReason = Action | 'bad_credentials' | 'auth_busy'

/** Users whose part of a pool is reported: those with the largest part. */
const shownUsers = 10

/** Publishers of retained messages whose rights are cached. */
const maxPublishers = 1_000

/**
 * The MQTT broker: connections speak through {@link Client}s, Aedes decides who may connect, sessions deliver. The
 * gate is `accept`: a publish that passes the gate is in the spool, then among the retained messages, in the queues of
 * absent sessions and on the way to subscribers, in spool order and in one go. Only then is the publish acknowledged.
 */
export class Broker implements DurabilityListener, Backpressure, ProtocolServer, UsersListener, LoginListener {
  readonly name = 'broker'
  readonly alarm: AlarmCheck = { name: 'client_fight', check: () => this.#log.fights() }
  readonly #options: BrokerOptions
  readonly #sessions: Sessions
  readonly #fanOut: FanOut
  readonly #subscriptionLimits: SubscriptionLimits
  readonly #control: AedesHandshake
  readonly #forClients: ClientBroker<Client>
  readonly #log: ConnectionLog
  /** Connected clients, by session name. */
  readonly #connected = new Map<string, Client>()
  readonly #shown: ShownClients
  /** Connected clients of each user. */
  readonly #clients: SharedPool
  /** Rights of publishers of retained messages, by session name. */
  readonly #publishers = new Map<string, Access>()
  readonly #bridges = new BridgeStates((topic, state) =>
    this.publish({ topic, payload: Buffer.from(state ?? ''), qos: 0, retain: true }),
  )
  readonly #sys = new SysTopics()
  readonly #sysSent = new Map<string, string>()
  readonly #startedAt = performance.now()
  /** Logs refusals at a limited rate, as unauthenticated clients can cause any number of them. */
  readonly #say: (sentence: string) => void
  #sysTimer: NodeJS.Timeout | undefined
  /** Resolves when the state is restored. */
  #restored: Promise<void> = Promise.resolve()
  #maximum = 0
  #expired = 0

  constructor(options: BrokerOptions) {
    this.#options = options
    const { log } = options
    this.#say = rateLimited(sentence => log.info(sentence))
    const { authority, audit } = options
    const clock = inMilliseconds(options.clock)
    this.#log = new ConnectionLog({ isOpen: authority.open, audit, log, clock })
    this.#sessions = new Sessions({
      ...options.sessions,
      isExpected: () => options.sink.sequence > 0,
      incidents: options.incidents,
      work: options.work,
      sharing: authority,
      access: (user, clientId) => options.authority.access(user, clientId, this.#shown.nameOf(user, clientId)),
      mayRetain: (user, clientId, topic) => this.#mayRetain(user, clientId, topic),
      clock,
      dropped: (what, clientId) => this.#dropped(what, clientId),
      willDue: (will, done) => this.#publishWill(will, error => done(error instanceof HubError)),
      log,
    })
    this.#fanOut = new FanOut({
      work: options.work,
      sessions: this.#sessions,
    })
    this.#subscriptionLimits = new SubscriptionLimits({
      ...options.subscriptions,
      wildcardsOf: user => options.authority.user(user)?.wildcards,
      pools: () => this.#sessions.pools,
    })
    this.#clients = new SharedPool(authority)
    this.#shown = new ShownClients({
      sharing: authority,
      publish: message => this.publish(message),
      retainedBy: filter => this.#sessions.retainedBy(filter),
      presence: options.presence,
      clock: options.clock,
      log,
    })
    this.#control = new AedesHandshake({
      sessions: this.#sessions,
      will: (client, will, done) => this.#will({ ...will, user: client?.user ?? will.user ?? '' }, done),
      log,
    })
    const { sessionAgeMs } = options.sessions
    this.#forClients = {
      sessions: this.#sessions,
      limits: { ...options.clients, sessionExpiry: sessionAgeMs === 0 ? Infinity : Math.ceil(sessionAgeMs / 1_000) },
      reader: new PublishReader(),
      authenticate: (client, connect, done) => this.#authenticate(client, connect, done),
      exchange: (client, method, username) =>
        options.authority.exchange(method, { address: client.connection.peer.address, username }),
      judge: (client, verdict) => this.#judge(client, verdict),
      open: (client, owner) => {
        this.#shown.entered(client)
        return this.#control.open(owner)
      },
      closed: client => this.#shown.closed(client),
      accept: (publish, inOrder) => options.sink.accept(publish, inOrder),
      publishFault: (client, topic) => this.#publishFault(client, topic),
      bridgeState: (client, topic, payload) => this.#bridgeState(client, topic, payload),
      subscribeFault: (client, filter) => this.#subscribeFault(client, filter),
      refused: (client, action, topic, reason) => this.#refused(client, action, topic, reason),
      tooLarge: client => this.#dropped('too_large', client.id),
      connected: client => this.#isConnected(client),
      left: (client, reason) => this.#left(client, reason),
      replaced: client => this.#log.replaced(client),
      seen: client => this.#seen(client),
      debug: sentence => log.debug(sentence),
      now: () => options.clock.now(),
    }
  }

  /** Restores sessions, retained messages and wills, replays what a crash has lost, then accepts clients. */
  async start(): Promise<void> {
    this.#restored = this.#restore()
    await this.#restored
    this.#settleAbsent()
    const { sysMs } = this.#options
    if (sysMs === 0) return
    this.#publishSys()
    this.#sysTimer = setInterval(() => this.#publishSys(), sysMs).unref()
  }

  async #restore(): Promise<void> {
    const { identity, sink } = this.#options
    await this.#sessions.load()
    let last = this.#sessions.applied
    for (const message of sink.replay(last)) {
      const { qos, retain, sequence, user, clientId, packetId } = message
      last = sequence
      if (qos === 0 && !retain) continue
      this.#sessions.publish(message, sequence)
      if (qos === 2 && packetId > 0) this.#sessions.recoverIncoming(sessionName(user, clientId), packetId)
    }
    // Replayed once more after the next crash, these messages would restore packet ids that were released meanwhile.
    this.#sessions.committed(last)
    await this.#control.start(identity.brokerId)
  }

  async stop(): Promise<void> {
    clearInterval(this.#sysTimer)
    await this.#control.stop()
    // Clients that were closed without DISCONNECT have left wills.
    await this.drained()
    await this.#sessions.stop()
  }

  /** Returns the MQTT side of a connection. */
  protocol(connection: Connection): PacketHandler {
    return new PacketDispatcher(connection, this.#forClients)
  }

  /** Distributes a message of the hub at once. For QoS 1, QoS 2 and retained messages see {@link flushed}. */
  publish(message: Outward): void {
    this.#sessions.publish({ ...message, clientId: '' }, 0)
  }

  /**
   * Distributes messages of the hub in their order, in as many turns of the event loop as the work takes; those that come
   * before the state is restored, after that.
   */
  async publishAll(messages: Iterable<Outward>): Promise<void> {
    const { work } = this.#options
    await this.#restored
    let end = work.done + sliceWork
    for (const message of messages) {
      if (work.done >= end) {
        await new Promise(resolve => setImmediate(resolve))
        end = work.done + sliceWork
      }
      this.publish(message)
    }
  }

  /** Resolves when every publish accepted so far is distributed and acknowledged, or refused. */
  async drained(): Promise<void> {
    await this.#options.sink.flush()
    await this.#fanOut.drained()
  }

  relieves(listener: ReliefListener): void {
    this.#fanOut.relieves(listener)
  }

  /** True while so much waits to be distributed that nothing more should be read. */
  get overloaded(): boolean {
    return this.#fanOut.overloaded
  }

  /** Resolves when everything published so far is safe in the queues of absent sessions and among retained messages. */
  flushed(): Promise<void> {
    return this.#sessions.flush()
  }

  /** Distributes and settles a QoS 0 publish that need not wait for earlier ones. */
  onPassed(publish: PendingPublish): void {
    this.#sessions.publish(publish, 0)
    publish.settle(undefined)
  }

  /** Called when the spool has stored a publish, at `sequence`, or refused the publish; in the order of `accept`. */
  onDurable(publish: PendingPublish, error: Error | undefined, sequence: number): void {
    this.#fanOut.settled(publish, error, sequence)
  }

  onCommitted(sequence: number): void {
    this.#fanOut.committed(sequence)
  }

  get clients(): number {
    return this.#connected.size
  }

  /** The largest parts of each pool, with the users that have them. */
  get uses(): readonly (Use & { readonly pool: string })[] {
    const { subscriptions, wildcards, absent, retained } = this.#sessions.pools
    const pools = { connections: this.#clients, subscriptions, wildcards, absent_sessions: absent, retained }
    return Object.entries(pools).flatMap(([pool, counted]) =>
      counted.top(shownUsers).map(({ user, amount }) => ({ pool, user, amount })),
    )
  }

  get counts(): Sessions['counts'] {
    return this.#sessions.counts
  }

  /** Returns sessions that outlive their connection, and sessions of connected clients. */
  listSessions(filter: SessionFilter, most: number): SessionList {
    return listSessions(this.#allSessions(), filter, most)
  }

  *#allSessions(): Generator<Session> {
    yield* this.#sessions.all()
    for (const { session } of this.#connected.values()) if (session && !session.durable) yield session
  }

  /** Ends the session and the connection of a user's client; false when there is neither. The client's will is due. */
  endSession({ user, clientId }: { readonly user: string; readonly clientId: string }): boolean {
    const name = sessionName(user, clientId)
    const client = this.#connected.get(name)
    const isKept = this.#sessions.find(name) !== undefined
    client?.connection.end({ code: reasonCode.administrativeAction, reason: 'an administrator has ended its session' })
    this.#sessions.forget(name)
    return isKept || client !== undefined
  }

  // — who may do what —

  #authenticate(client: Client, connect: ConnectPacket, done: (principal: Principal | Fault) => void): void {
    const { address, certificate } = client.connection.peer
    const { username, password } = connect
    const shown = { address, certificate, username, password: password?.toString() }
    const isGone = () => client.connection.isClosed
    this.#options.authority.authenticate({ ...shown, isGone }, verdict => done(this.#judge(client, verdict)))
  }

  /** Decides whether a client may connect with these credentials, id and will, or go on after re-authentication. */
  #judge(client: Client, verdict: Verdict): Principal | Fault {
    const { id, connect, user: before } = client
    const will = connect?.will
    const { address, listener: via } = client.connection.peer
    const refuse = (reason: RefusalReason, code: number, user: string, why: string, own = why): Fault => {
      this.#options.counters.refuse(reason)
      this.#say(`refused ${short(id)} at ${address} to connect: ${short(why)}`)
      const event = { event: 'refused', result: 'refused', reason, address, via, client: id, detail: why } as const
      this.#options.audit.repeated({ ...event, user: user || before })
      const said = user ? own : (genericReasons[code] ?? why)
      // An unauthenticated client must not invent a device, nor write on the page of one that is connected.
      const shown = user || before
      const session = this.#sessions.find(sessionName(connect?.username ?? '', id))
      const isOurs = shown !== '' || this.#shown.isAbsent(id) || session?.attached === false
      if (isOurs) this.#shown.refused(id, shown, 'connect', user && will ? will.topic : '', said)
      return { code, reason: said }
    }
    if ('refused' in verdict) {
      return verdict.refused === 'busy'
        ? refuse('auth_busy', reasonCode.serverBusy, '', verdict.why)
        : refuse('bad_credentials', reasonCode.badCredentials, '', verdict.why)
    }
    const { user } = verdict
    const fault =
      (before && user !== before ? `user ${before} authenticated again as ${user}` : undefined) ??
      this.#options.authority.clientFault(user, id) ??
      (will && this.#willFault(will.topic, user, id, connect?.protocol))
    if (!fault) {
      const { connections } = this.#options
      const isNew = connect !== undefined && !this.#connected.has(sessionName(user, id))
      if (!isNew || this.#clients.admits(user, 1, connections)) return verdict
      return refuse('connect', reasonCode.quotaExceeded, user, beyondShare('connections', 'limits.connections'))
    }
    const { reason, detail } = typeof fault === 'string' ? { reason: fault, detail: fault } : fault
    return refuse('connect', reasonCode.notAuthorized, user, detail, reason)
  }

  #permissionFault(verb: 'publish' | 'subscribe', user: string, clientId: string, topic: string): string | undefined {
    const access = this.#options.authority.access(user, clientId)
    return access && faultOf(access[verb](topic), user)
  }

  #publishFault(client: Client, topic: string): Fault | undefined {
    const access = client.session?.access
    let reason: string | undefined
    if (topic.charCodeAt(0) === 36) reason = publishFault(topic)
    else if (access && !access.mayPublish(topic)) reason = faultOf(access.publish(topic), client.user)
    return reason === undefined ? undefined : { code: reasonCode.notAuthorized, reason }
  }

  #willFault(topic: string, user: string, clientId: string, protocol: number | undefined): string | undefined {
    if (topic === bridgeStateTopic(clientId)) return undefined
    // Before MQTT 5 the client cannot be sent the reason: there the will is refused when due.
    const fault = protocol === 5 ? publishFault(topic) : undefined
    return fault ?? this.#permissionFault('publish', user, clientId, topic)
  }

  #bridgeState(client: Client, topic: string, payload: Buffer): boolean {
    const state = topic === bridgeStateTopic(client.id) ? bridgeStateOf(payload) : undefined
    if (state) this.#bridges.report(client, topic, state)
    return state !== undefined
  }

  /** Returns whether a retained message may be delivered: its publisher must still exist and be allowed the topic. */
  #mayRetain(user: string, clientId: string, topic: string): boolean {
    const { authority } = this.#options
    if (authority.open) return true
    const name = sessionName(user, clientId)
    let access = this.#publishers.get(name)
    if (!access) {
      access = authority.access(user, clientId)
      if (!access) return true
      if (this.#publishers.size >= maxPublishers) this.#publishers.clear()
      this.#publishers.set(name, access)
    }
    return access.mayPublish(topic)
  }

  /** Closes clients without access, narrows the rights of the others. */
  onUsersChanged(): void {
    this.#publishers.clear()
    this.#sessions.reconsider()
    for (const client of this.#connected.values()) {
      const { session, user } = client
      if (!session) continue
      if (!session.durable) this.#sessions.permit(session)
      const silent = [...session.subscriptions.values()].find(({ reach }) => reach === 'none')
      if (!silent) continue
      const fault = faultOf(session.access?.subscribe(topicsOf(silent)), user) ?? ''
      this.#refused(client, 'receive', silent.filter, fault)
    }
    this.onLoginEnded()
  }

  /** Closes clients that are no longer admitted. */
  onLoginEnded(): void {
    const { authority } = this.#options
    for (const client of [...this.#connected.values()]) {
      const fault = client.isValid() ? authority.clientFault(client.user, client.id) : noLonger
      if (fault) this.#dismiss(client, fault)
    }
  }

  #dismiss(client: Client, fault: string | ClientFault): void {
    const { reason, detail } = typeof fault === 'string' ? { reason: fault, detail: fault } : fault
    this.#refused(client, 'connect', '', reason, detail)
    client.connection.end({ code: reasonCode.notAuthorized, reason })
  }

  /** Delays or publishes the will of a client gone without DISCONNECT. `done` when the will is stored or refused. */
  #will(will: LastWill, done: (error?: Error) => void): void {
    if (this.#sessions.wills.delay(will)) done()
    else this.#publishWill(will, done)
  }

  #publishWill({ delay: _, expiry, ...will }: LastWill, done: (error?: Error) => void): void {
    const { clientId, user = '', topic } = will
    if (topic === bridgeStateTopic(clientId)) {
      this.#bridges.lost(topic)
      done()
      return
    }
    const fault = publishFault(topic) ?? this.#permissionFault('publish', user, clientId, topic)
    if (!fault) {
      const expiresAt = expiry === undefined ? undefined : this.#options.clock.now() + expiry * 1e6
      this.#options.sink.accept({ ...will, user, expiresAt, packetId: 0, settle: done }, true)
      return
    }
    this.#count('publish', clientId)
    const event = { event: 'refused', result: 'refused', reason: 'publish', user, client: clientId } as const
    this.#options.audit.repeated({ ...event, what: topic, detail: `its will: ${fault}` })
    this.#options.log.info(`the will of ${short(clientId)} on ${short(topic)} is refused: ${short(fault)}`)
    this.#shown.refused(clientId, user, 'publish', topic, fault)
    done(new Error(fault))
  }

  #subscribeFault(client: Client, filter: string): Fault | undefined {
    this.#options.work.done += charge.filter
    const invalid = (reason: string): Fault => ({ code: reasonCode.topicFilterInvalid, reason })
    const refused = (reason: string): Fault => ({ code: reasonCode.notAuthorized, reason })
    const large = tooLong('topic filter', filter) ?? tooDeep('topic filter', filter)
    if (large) return invalid(large)
    const shared = sharedFilter(filter)
    if (shared && 'fault' in shared) return invalid(shared.fault)
    const topics = shared?.filter ?? filter
    if (topics.startsWith('$SYS') && !this.#options.sysReadable) return refused('$SYS may not be read (sys.read)')
    const { session, user } = client
    if (!session) return undefined
    const decision = session.access?.subscribe(topics)
    if (decision && !decision.allowed) return refused(faultOf(decision, user) ?? '')
    const tooMany = this.#subscriptionLimits.fault(session, filter, topics)
    return tooMany === undefined ? undefined : { code: reasonCode.quotaExceeded, reason: tooMany }
  }

  /**
   * Counts a refusal, logs and shows the reason. For refused publishes the reason appears at most once a second for
   * each client, which may be refused a hundred thousand times.
   */
  #refused(client: Client, action: Action, topic: string, reason: string, detail = reason): void {
    const { id, user, connection } = client
    const { address, listener: via } = connection.peer
    this.#count(action, id)
    const event = { event: 'refused', result: 'refused', reason: action, user, address, via, client: id } as const
    this.#options.audit.repeated({ ...event, what: topic, detail })
    const now = this.#options.clock.now()
    if (action === 'publish' && now - client.refusedAt < 1e6) return
    client.refusedAt = now
    this.#say(`refused ${short(id)} to ${action}${topic && ` ${short(topic)}`}: ${short(detail)}`)
    this.#shown.refused(id, user, action, topic, reason)
  }

  #count(action: Action, clientId: string): void {
    const { counters, refusals } = this.#options
    counters.refuse(action)
    if (action === 'publish') refusals.add(clientId, 'not_permitted')
  }

  #dropped(what: Dropped, clientId: string): void {
    this.#options.counters.giveUp(what)
    if (what === 'session_age') this.#expired++
    this.#options.log.debug(`${clientId}: ${droppedSentences[what]}`)
  }

  // — presence —

  #isConnected(client: Client): void {
    if (!this.#connected.has(client.name)) this.#clients.add(client.user, 1)
    this.#connected.set(client.name, client)
    this.#log.connected(client)
    // The user may have changed since the credentials were checked.
    if (!client.isValid()) this.#dismiss(client, noLonger)
    this.#maximum = Math.max(this.#maximum, this.#connected.size)
    if (client.session?.durable || client.will || this.#shown.hasReplaced(client)) this.#seen(client)
  }

  /** Shows the presence of a client that publishes, leaves a will, or keeps a session. */
  #seen(client: Client): void {
    if (this.#connected.get(client.name) === client) this.#shown.online(client)
  }

  #left(client: Client, reason: string): void {
    this.#log.disconnected(client, reason)
    if (this.#connected.get(client.name) !== client) return
    this.#connected.delete(client.name)
    this.#clients.add(client.user, -1)
    this.#bridges.left(client, bridgeStateTopic(client.id))
    this.#shown.offline(client)
  }

  /** Called at the start: wills of clients that were connected when the hub went down are due. [MQTT-3.1.2-8] */
  #settleAbsent(): void {
    this.#shown.restore()
    for (const will of this.#sessions.wills.all()) {
      this.#will(will, error => {
        if (error) this.#options.log.warn(`the will of ${will.clientId}: ${describe(error)}`)
        this.#sessions.wills.delete(nameOf(will))
      })
    }
  }

  #publishSys(): void {
    const { counters, version, clock } = this.#options
    const { traffic, received, receivedBytes, dropped } = counters
    const { absent, subscriptions, retained } = this.#sessions.counts
    const topics = this.#sys.at(clock.now() / 1_000, {
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
      publishes: {
        received: received[0] + received[1] + received[2],
        sent: traffic.publishesOut,
        dropped,
        bytesReceived: receivedBytes,
      },
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
