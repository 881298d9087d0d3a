import type { LoginListener } from '../auth/admission.js'
import type { Settings } from '../config/settings.js'
import { HubError } from '../errors.js'
import type { DurabilityListener, Outward, PendingPublish, PresenceListener, PublishSink } from '../model.js'
import { PublishReader } from '../mqtt/publish.js'
import type { AlarmCheck } from '../observe/alarms.js'
import type { Auditor } from '../observe/audit.js'
import type { Counters } from '../observe/counters.js'
import type { IncidentReporter } from '../observe/incidents.js'
import type { DebugLog } from '../observe/log.js'
import type { RefusalCounts } from '../observe/refusal-counts.js'
import type { Backpressure, ReliefListener } from '../runtime/backpressure.js'
import type { Rates } from '../runtime/rate-limit.js'
import type { Use } from '../runtime/shared-pool.js'
import { inMilliseconds, type MicrosecondClock } from '../runtime/time.js'
import type { Work } from '../runtime/work.js'
import { FanOut } from '../sessions/fan-out.js'
import {
  type Dropped,
  Sessions,
  type SessionsOptions,
  SubscriptionLimits,
  type SubscriptionLimitsOptions,
} from '../sessions/sessions.js'
import type { Connection, PacketHandler, ProtocolServer } from '../transport/connections.js'
import type { UsersListener } from '../users/user-directory.js'
import { AccessPolicy, type BrokerAuthority } from './access-policy.js'
import { AedesHandshake } from './aedes-handshake.js'
import { BridgeStates } from './bridge-states.js'
import type { BrokerParts, ClientLimits } from './broker-parts.js'
import { ClientAdmin } from './client-admin.js'
import type { CommandPort } from './command-port.js'
import { DeliverySpans, type DeliverySpansOptions } from './delivery-spans.js'
import { DirectPublisher, type PublishReceipt, ratesOf } from './direct-publisher.js'
import type { HistoryFeeds } from './history-feeds.js'
import { LoopGuard } from './loop-guard.js'
import { PacketDispatcher } from './packet-dispatcher.js'
import { Presence } from './presence.js'
import { RefusalNotices } from './refusal-notices.js'
import { type RequestKey, RequestKeys } from './request-keys.js'
import { Restoration, type RestorationListener, type RestorationProgress } from './restoration.js'
import { droppedSentences } from './sentences.js'
import { SysPublisher } from './sys-publisher.js'
import { TopicServices } from './topic-services.js'
import { WillPublisher } from './will-publisher.js'

export type { Lending, Receiver } from '../sessions/sessions.js'
export type { CommandClient, CommandPort, CommandPublish } from './command-port.js'
export type { ServiceClient, ServicePublish, TopicService } from './topic-services.js'

export interface BrokerOptions {
  /** `brokerId` ascends with every start of the hub. Read at the start. */
  readonly identity: { readonly brokerId: string; readonly hubId: string }
  readonly version: string
  readonly work: Work
  readonly authority: BrokerAuthority
  readonly sessions: Omit<
    SessionsOptions,
    'access' | 'counts' | 'clock' | 'dropped' | 'willDue' | 'log' | 'work' | 'sharing' | 'incidents' | 'isExpected'
  >
  readonly clients: Omit<ClientLimits, 'sessionExpiry'>
  readonly subscriptions: Omit<SubscriptionLimitsOptions, 'users' | 'sessions'>
  /** Clients connected at a time. */
  readonly connections: number
  /** Interval at which `$SYS` is published, in milliseconds; 0 is never. */
  readonly sysMs: number
  readonly sysReadable: boolean
  /** Folder of the keys of requests to publish, and how much a user may publish by requests in a second. */
  readonly requests: { readonly dir: string; readonly rates: Rates }
  /** Whether there are other hubs, which are to know what is wanted here. */
  readonly isClustered: boolean
  /** Milliseconds that the start waits for the state to be restored, before publishes are taken meanwhile. */
  readonly restoreWaitMs: number
  /** Collector of the spans of deliveries. Undefined: no spans are made. */
  readonly traces: Pick<DeliverySpansOptions, 'url' | 'percent'> | undefined
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

/** Users whose part of a pool is reported: those with the largest part. */
const shownUsers = 10

/**
 * The MQTT broker: connections speak through {@link Client}s, Aedes decides who may connect, sessions deliver. The
 * gate is `accept`: a publish that passes the gate is in the spool, then among the retained messages, in the queues of
 * absent sessions and on the way to subscribers, in spool order and in one go. Only then is the publish acknowledged.
 */
export class Broker
  implements DurabilityListener, Backpressure, ProtocolServer, UsersListener, LoginListener, RestorationListener
{
  readonly name = 'broker'
  readonly alarm: AlarmCheck = { name: 'client_fight', check: () => this.#presence.fights() }
  readonly #options: BrokerOptions
  readonly #sessions: Sessions
  readonly #fanOut: FanOut
  readonly #presence: Presence
  readonly #policy: AccessPolicy
  readonly #wills: WillPublisher
  readonly #handshake: AedesHandshake
  readonly #sys: SysPublisher
  readonly #refusals: RefusalNotices
  readonly #parts: BrokerParts
  readonly #restoration: Restoration
  readonly #keys: RequestKeys
  readonly #direct: DirectPublisher
  /** What administrators do with clients and their sessions. */
  readonly admin: ClientAdmin
  readonly services = new TopicServices()

  constructor(options: BrokerOptions) {
    this.#options = options
    const { audit, authority, clock, counters, log, sink, work } = options
    const sessions = new Sessions({
      ...options.sessions,
      isExpected: () => sink.sequence > 0,
      incidents: options.incidents,
      work,
      sharing: authority,
      counts: counters,
      access: (user, clientId) => {
        const access = authority.access(user, clientId, this.#presence.nameOf(user, clientId))
        return access?.about(this.#parts.commands)
      },
      mayRetain: (user, clientId, topic) => this.#policy.mayRetain(user, clientId, topic),
      clock: inMilliseconds(clock),
      dropped: (what, clientId) => this.#dropped(what, clientId),
      willDue: (will, done) => this.#wills.publish(will, error => done(error instanceof HubError)),
      log,
    })
    this.#sessions = sessions
    if (options.isClustered) sessions.wanted.count()
    this.#fanOut = new FanOut({ work, sessions })
    const restoration = new Restoration({ sessions, sink, work, waitMs: options.restoreWaitMs, log })
    this.#restoration = restoration
    const publish = (message: Outward) => this.publish(message)
    const pages = { publish, retainedBy: (filter: string) => sessions.retainedBy(filter) }
    const bridges = new BridgeStates((topic, state) =>
      restoration.afterwards(() => publish({ topic, payload: Buffer.from(state ?? ''), qos: 0, retain: true })),
    )
    const shown = { pages, restoration, sharing: authority, clock, audit, log }
    const presence = new Presence({ ...shown, isOpen: authority.open, bridges, listener: options.presence })
    const refusals = new RefusalNotices({ ...shown, presence, counters, balance: options.refusals })
    const subscriptions = new SubscriptionLimits({
      ...options.subscriptions,
      users: authority,
      sessions,
    })
    const { connections, sysMs, sysReadable, version } = options
    const policy = new AccessPolicy({
      ...{ authority, sessions, presence, refusals, subscriptions, work, connections, sysReadable },
      services: this.services,
    })
    this.#presence = presence
    this.#refusals = refusals
    this.#policy = policy
    this.#wills = new WillPublisher({ wills: sessions.wills, policy, refusals, bridges, sink, clock, log })
    this.#handshake = new AedesHandshake({
      sessions,
      will: (client, will, done) => this.#wills.leave({ ...will, user: client?.user ?? will.user ?? '' }, done),
      log,
    })
    this.#sys = new SysPublisher({ version, intervalMs: sysMs, sessions, presence, counters, broker: this, clock })
    const { incidents, requests } = options
    const keys = new RequestKeys({ dir: requests.dir, sink, clock, counters, incidents, log })
    this.#keys = keys
    const { rates } = requests
    this.#direct = new DirectPublisher({
      ...{ authority, refusals, keys, sink, fanOut: this, rates, monotonic: performance },
    })
    const { sessionAgeMs } = options.sessions
    this.#parts = {
      ...{ policy, presence, refusals, bridges, sessions, handshake: this.#handshake, restoration, clock, log, sink },
      limits: { ...options.clients, sessionExpiry: sessionAgeMs === 0 ? Infinity : Math.ceil(sessionAgeMs / 1_000) },
      ...{ reader: new PublishReader(), feeds: undefined, commands: undefined, services: this.services },
      loops: new LoopGuard(options.identity),
      spans: options.traces && new DeliverySpans({ ...options.traces, counters, clock, log }),
      tooLarge: clientId => this.#dropped('too_large', clientId),
    }
    this.admin = new ClientAdmin(this.#parts)
  }

  /** Restores sessions, retained messages and wills. Resolves when that is done, or takes long: see {@link Restoration}. */
  async start(): Promise<void> {
    this.#restoration.open()
    this.#parts.spans?.start()
    this.#keys.start()
    await this.#handshake.start(this.#options.identity.brokerId)
    await this.#restoration.start(this).catch(async error => {
      await this.#handshake.stop()
      throw error
    })
  }

  onRestored(): void {
    this.#presence.restore()
    this.#refusals.restore()
  }

  onRestorationOver(): void {
    this.#wills.restore()
    this.#sys.start()
    this.wanted.begin()
  }

  /** Resolves, with the reason, when the state cannot be restored after the start. */
  get failed(): Promise<Error> {
    return this.#restoration.failed
  }

  /** Progress of the restore. Undefined once everything is restored. */
  get restoring(): RestorationProgress | undefined {
    return this.#restoration.progress
  }

  async stop(): Promise<void> {
    this.#sys.stop()
    await this.#handshake.stop()
    // Clients that were closed without DISCONNECT have left wills.
    await this.drained()
    await this.#parts.spans?.stop()
    await this.#keys.stop()
    await this.#sessions.stop()
  }

  onSettings(settings: Settings): void {
    this.#direct.rates = ratesOf(settings)
  }

  /** Publishes for a caller without an MQTT connection, as {@link DirectPublisher.publish} does. */
  publishDirectly(user: string, messages: readonly Outward[], key?: RequestKey): Promise<PublishReceipt> {
    return this.#direct.publish(user, messages, key)
  }

  /** Publishes what comes from another broker, as {@link DirectPublisher.publishFrom} does. */
  publishFrom(clientId: string, user: string, message: Outward): Promise<void> {
    return this.#direct.publishFrom(clientId, user, message)
  }

  /** Sets what opens feeds for subscriptions to history, before the first client connects. Returns what is retained. */
  historyFrom(feeds: HistoryFeeds): Pick<Sessions, 'retainedBy'> {
    this.#parts.feeds = feeds
    return this.#sessions
  }

  /** Sets the commands, before the first client connects. */
  commandsFrom(commands: CommandPort): void {
    this.#parts.commands = commands
  }

  /** Delivers to connected clients what their sessions do not keep. */
  get lending(): Sessions['lending'] {
    return this.#sessions.lending
  }

  /** The topics that clients and kept sessions of this hub want. */
  get wanted(): Sessions['wanted'] {
    return this.#sessions.wanted
  }

  /** Returns the MQTT side of a connection. */
  protocol(connection: Connection): PacketHandler {
    return new PacketDispatcher(connection, this.#parts)
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
    await this.#restoration.done
    let end = work.done + work.slice
    for (const message of messages) {
      if (work.done >= end) {
        await new Promise(resolve => setImmediate(resolve))
        end = work.done + work.slice
      }
      this.publish(message)
    }
  }

  /**
   * Called when the hub stops. Resolves when every publish accepted so far is distributed and acknowledged, or refused.
   * The next start restores and distributes the rest.
   */
  async drained(): Promise<void> {
    this.#restoration.stop()
    await this.#options.sink.flush()
    await this.#fanOut.drained()
  }

  relieves(listener: ReliefListener): void {
    this.#fanOut.relieves(listener)
    this.#restoration.relieves(listener)
  }

  /** True while so much waits to be distributed that nothing more should be read. */
  get overloaded(): boolean {
    return this.#fanOut.overloaded || this.#restoration.overloaded
  }

  /** Resolves when everything published so far is safe in the queues of absent sessions and among retained messages. */
  async flushed(): Promise<void> {
    await this.#restoration.done
    await this.#sessions.flush()
  }

  /** Distributes and settles a QoS 0 publish that need not wait for earlier ones. */
  onPassed(publish: PendingPublish): void {
    // Nobody is subscribed before: what is kept for others comes from the spool.
    if (this.#restoration.isOver) this.#sessions.publish(publish, 0)
    publish.settle(undefined, 0)
  }

  /** Called when the spool has stored a publish, at `sequence`, or refused the publish; in the order of `accept`. */
  onDurable(publish: PendingPublish, error: Error | undefined, sequence: number): void {
    if (this.#restoration.isOver) this.#fanOut.settled(publish, error, sequence)
    else publish.settle(error, sequence)
  }

  onCommitted(sequence: number): void {
    if (this.#restoration.isOver) this.#fanOut.committed(sequence)
  }

  get clients(): number {
    return this.#presence.count
  }

  /** The largest parts of each pool, with the users that have them. */
  get uses(): readonly (Use & { readonly pool: string })[] {
    const { subscriptions, wildcards, absent, retained } = this.#sessions.pools
    const pools = { connections: this.#presence.perUser, subscriptions, wildcards, absent_sessions: absent, retained }
    return Object.entries(pools).flatMap(([pool, counted]) =>
      counted.top(shownUsers).map(({ user, amount }) => ({ pool, user, amount })),
    )
  }

  get counts(): Sessions['counts'] {
    return this.#sessions.counts
  }

  /** Closes clients without access, narrows the rights of the others. */
  onUsersChanged(): void {
    this.#policy.forget()
    this.#sessions.reconsider()
    for (const { session } of this.#presence.all()) if (session && !session.durable) this.#sessions.permit(session)
    this.#policy.reportSilenced()
    this.onLoginEnded()
  }

  /** Closes clients that are no longer admitted. */
  onLoginEnded(): void {
    this.#policy.dismissAll()
  }

  #dropped(what: Dropped, clientId: string): void {
    this.#options.counters.giveUp(what)
    if (what === 'session_age') this.#sys.expired++
    this.#options.log.debug(`${clientId}: ${droppedSentences[what]}`)
  }
}
