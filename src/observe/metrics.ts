import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import type { Alarms } from './alarms.js'
import type { AuditLog } from './audit-log.js'
import type { Counters } from './counters.js'
import type { EventLoopDelay } from './event-loop-delay.js'
import type { Incident, Incidents } from './incidents.js'

/** The parts whose numbers are not counted but looked up when the metrics are read. */
export interface MetricSources {
  readonly broker: {
    readonly clients: number
    /** Undefined once everything is restored. */
    readonly restoring: object | undefined
    readonly counts: {
      readonly sessions: number
      readonly subscriptions: number
      readonly retained: number
      readonly retainedBytes: number
    }
    /** Use of each shared pool by the users that take most. */
    readonly uses: readonly { readonly pool: string; readonly user: string; readonly amount: number }[]
  }
  readonly connections: { readonly count: number }
  readonly spool: { readonly bytes: number }
  readonly shadows: { readonly count: number; readonly bytes: number; readonly requests: ReadonlyMap<string, number> }
  readonly feeds: { readonly count: number }
  readonly inlets: { numbers(): readonly InletNumbers[] }
  readonly commands: { readonly open: number }
  readonly eventLoopDelay: EventLoopDelay
  readonly alarms: Alarms
  readonly incidents: Incidents
  readonly auditLog: AuditLog
  readonly pipeline: { numbers(): Promise<ProcessorNumbers> }
}

/** Messages of an inlet since the start, by outcome, and whether its broker answers. */
export interface InletNumbers {
  readonly inlet: string
  readonly isConnected: boolean
  readonly taken: number
  readonly refused: number
  readonly looped: number
}

/** Numbers of the processor thread. */
export interface ProcessorNumbers {
  /** Messages that each cursor has yet to pass, by the name of the cursor. */
  readonly lag: Readonly<Record<string, number>>
  /** Failures of each target since that target last worked. */
  readonly failures: Readonly<Record<string, number>>
  readonly waiting: readonly { readonly consumer: string; readonly target: string }[]
  /** The terms of the balance sheet, and the counts by reason of two of these terms (dead and refused). */
  readonly balance: Readonly<Record<string, number>>
  readonly reasons: Readonly<Record<string, ReadonlyMap<string, number>>>
  readonly deadBytes: number
  readonly store: StoreNumbers
  readonly notifications: NotifyNumbers
  readonly outlets: readonly OutletNumbers[]
  /** Undefined without a cluster. */
  readonly cluster: ClusterCounts | undefined
}

/** What has gone to the other hubs of a cluster and come from them, and how many hubs are in which state. */
export interface ClusterCounts {
  readonly sent: number
  readonly unwanted: number
  readonly received: number
  readonly repeated: number
  readonly hubs: Readonly<Record<string, number>>
}

/** Numbers of an outlet. */
export interface OutletNumbers {
  readonly name: string
  readonly state: string
  readonly failures: number
  readonly bytesBehind: number
  /** When the first message in hand was received, in milliseconds. */
  readonly oldest?: number | undefined
  /** The terms of its account. */
  readonly balance: Readonly<Record<string, number>>
  readonly dead: { readonly letters: number; readonly bytes: number }
}

/** Numbers of the embedded store. */
export interface StoreNumbers {
  /** Bytes of the files, and those that hold something. Undefined: not known, as with a server. */
  readonly bytes: number | undefined
  readonly used: number | undefined
  /** Readings that retention has deleted, by tier and reason. */
  readonly dropped: readonly { readonly tier: string; readonly why: string; readonly readings: number }[]
  /** Seconds that the roll-ups are behind the newest reading, and hours that wait to be rolled up anew. */
  readonly rolledUp?: { readonly behind: number; readonly waiting: number }
}

/** Numbers of the notifications. */
export interface NotifyNumbers {
  readonly targets: readonly {
    readonly target: string
    readonly waiting: number
    readonly sent: number
    readonly failed: number
    readonly givenUp: number
  }[]
  /** Changes of alerts that were deleted before they were handled. */
  readonly skipped: number
}

/** The counters and what is looked up, as Prometheus text. Every counter begins at 0 with the process. */
export class Metrics {
  readonly #registry = new Registry()
  readonly #lookUp: () => Promise<void>

  constructor(counters: Counters, sources: MetricSources) {
    const {
      broker,
      commands,
      connections,
      spool,
      shadows,
      feeds,
      inlets,
      eventLoopDelay,
      alarms: alarm,
      incidents,
      auditLog,
      pipeline,
    } = sources
    const registers = [this.#registry]
    collectDefaultMetrics({ register: this.#registry })
    const counter = (name: string, help: string, read: () => number) =>
      new Counter({
        name,
        help,
        registers,
        collect() {
          this.reset()
          this.inc(read())
        },
      })
    const byReason = (name: string, help: string, counts: ReadonlyMap<string, number>) =>
      new Counter({
        name,
        help,
        labelNames: ['reason'],
        registers,
        collect() {
          this.reset()
          for (const [reason, count] of counts) this.inc({ reason }, count)
        },
      })
    const gauge = (name: string, help: string, read: () => number) =>
      new Gauge({
        name,
        help,
        registers,
        collect() {
          this.set(read())
        },
      })
    const byKind = (name: string, help: string, read: (incident: Incident) => number) =>
      new Counter({
        name,
        help,
        labelNames: ['kind'],
        registers,
        collect() {
          this.reset()
          for (const incident of incidents.list()) this.inc({ kind: incident.kind }, read(incident))
        },
      })
    byKind(
      'telehub_incidents_total',
      'Damage found and repaired, and clocks that jumped, by kind',
      ({ count }) => count,
    )
    byKind('telehub_lost_messages_total', 'Messages known to be lost, by kind of incident', ({ lost }) => lost.messages)
    gauge('telehub_feeds', 'Open feeds: /api/live, $hub/history and Socket.IO', () => feeds.count)
    counter(
      'telehub_feed_merged_total',
      'Live events of feeds that were merged into a newer one of their topic, as the receiver was too slow',
      () => counters.feeds.merged,
    )
    counter(
      'telehub_feed_dropped_total',
      'Live events of feeds that were dropped, as the receiver was too slow for the number of its topics',
      () => counters.feeds.dropped,
    )
    const { received } = counters
    new Counter({
      name: 'telehub_received_total',
      help: 'Publishes accepted from clients, by QoS',
      labelNames: ['qos'],
      registers,
      collect() {
        this.reset()
        for (const [qos, count] of Object.entries(received)) this.inc({ qos }, count)
      },
    })
    counter(
      'telehub_received_bytes_total',
      'Payload bytes of publishes received from clients',
      () => counters.receivedBytes,
    )
    counter('telehub_delivered_total', 'Deliveries to MQTT subscribers', () => counters.traffic.publishesOut)
    counter(
      'telehub_dropped_total',
      'QoS 0 deliveries dropped because the subscriber did not read',
      () => counters.dropped,
    )
    counter(
      'telehub_merged_total',
      'QoS 0 deliveries replaced by a newer one of their topic because the subscriber did not read',
      () => counters.merged,
    )
    byReason(
      'telehub_given_up_total',
      'Messages and sessions dropped for lack of room or because of their age, by kind: queue (the oldest message), sessions, session_age, retained, request_keys',
      counters.givenUp,
    )
    counter(
      'telehub_stored_total',
      'Messages whose readings were stored; replayed messages count again',
      () => counters.stored,
    )
    counter(
      'telehub_otel_spans_lost_total',
      'Spans that did not reach the collector of otel.url',
      () => counters.spansLost,
    )
    counter('telehub_points_total', 'Points written to the store', () => counters.points)
    new Counter({
      name: 'telehub_inlet_messages_total',
      help: 'Messages of other brokers, by inlet and outcome: taken, refused (rules of the user, topic), looped (they had been here)',
      labelNames: ['inlet', 'outcome'],
      registers,
      collect() {
        this.reset()
        for (const { inlet, taken, refused, looped } of inlets.numbers())
          for (const [outcome, count] of Object.entries({ taken, refused, looped })) this.inc({ inlet, outcome }, count)
      },
    })
    new Gauge({
      name: 'telehub_inlet_connected',
      help: 'Whether the broker of an inlet answers',
      labelNames: ['inlet'],
      registers,
      collect() {
        this.reset()
        for (const { inlet, isConnected } of inlets.numbers()) this.set({ inlet }, isConnected ? 1 : 0)
      },
    })
    new Counter({
      name: 'telehub_commands_total',
      help: 'Commands to devices: asked, by how they ended (answered, delivered, failed, expired, cancelled, sent), late answers, and dropped answers to back ends',
      labelNames: ['state'],
      registers,
      collect() {
        this.reset()
        for (const [state, count] of counters.commands) this.inc({ state }, count)
      },
    })
    gauge('telehub_commands_open', 'Commands that are under way', () => commands.open)
    byReason('telehub_refused_total', 'Refused publishes, connections and requests, by reason', counters.refused)
    byReason('telehub_dead_total', 'Messages dead-lettered, by reason', counters.dead)
    counter('telehub_audit_lines_total', 'Lines written to the audit log', () => auditLog.lines)
    counter('telehub_audit_lost_total', 'Events that could not be written to the audit log', () => auditLog.lost)
    gauge('telehub_clients', 'MQTT clients connected', () => broker.clients)
    gauge('telehub_connections', 'Connections open to the MQTT listeners', () => connections.count)
    gauge('telehub_sessions', 'Sessions that outlive their connection', () => broker.counts.sessions)
    gauge('telehub_restoring', 'Whether kept sessions are still being restored (1) or not (0)', () =>
      broker.restoring ? 1 : 0,
    )
    gauge('telehub_subscriptions', 'Subscriptions', () => broker.counts.subscriptions)
    gauge('telehub_retained', 'Retained messages', () => broker.counts.retained)
    gauge('telehub_retained_bytes', 'Approximate memory of them, in bytes', () => broker.counts.retainedBytes)
    gauge('telehub_shadows', 'Shadows of devices', () => shadows.count)
    gauge('telehub_shadow_bytes', 'Bytes of their documents', () => shadows.bytes)
    byReason(
      'telehub_shadow_requests_total',
      'Requests to shadows: accepted, or the code of the rejection',
      shadows.requests,
    )
    gauge('telehub_spool_bytes', 'Size of the spool on disk', () => spool.bytes)
    gauge(
      'telehub_event_loop_delay_seconds',
      'Longest delay of the event loop of the broker thread in the last minute',
      () => eventLoopDelay.longest,
    )
    const delays = new Histogram({
      name: 'telehub_event_loop_lag_seconds',
      help: 'How late the event loop of the broker thread was, sampled every 10 ms',
      buckets: [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1],
      registers,
    })
    eventLoopDelay.reportTo({ onDelay: seconds => delays.observe(seconds) })
    const labelled = (name: string, help: string, ...labelNames: string[]) =>
      new Gauge({ name, help, labelNames, registers })
    const lag = labelled('telehub_spool_lag', 'Messages in the spool that a cursor has yet to pass', 'cursor')
    const failures = labelled('telehub_target_failures', 'Consecutive failures of the target; 0: it works', 'target')
    const waiting = labelled('telehub_waiting', 'Consumers that wait for a target', 'consumer', 'target')
    const balance = labelled('telehub_balance_messages', 'The balance sheet; residual should be 0', 'term')
    const reasons = labelled(
      'telehub_balance_reason_messages',
      'Dead letters and refusals of the balance sheet, by reason',
      'term',
      'reason',
    )
    const deadBytes = labelled('telehub_dead_bytes', 'Dead letters in data.dir')
    const storeBytes = labelled('telehub_store_bytes', 'Bytes of the embedded store: of its files, and in use', 'of')
    const expired = labelled(
      'telehub_store_deleted_readings',
      'Readings (raw) and rows of roll-ups (1m, 1h, 1d) that retention has deleted since the store was made, by reason',
      'tier',
      'reason',
    )
    const rollUpLag = labelled('telehub_store_rollup_lag_seconds', 'Seconds from the roll-ups to the newest reading')
    const rollUpWaiting = labelled(
      'telehub_store_rollup_waiting_hours',
      'Hours of a series that wait to be rolled up anew, as readings came late or were changed',
    )
    const notified = labelled(
      'telehub_notifications',
      'Messages to a target since the processor started: sent, failed (attempts) and given_up',
      'target',
      'outcome',
    )
    const unsent = labelled('telehub_notifications_waiting', 'Messages that wait for a target', 'target')
    const skipped = labelled('telehub_notifications_skipped', 'Changes of alerts deleted before they were handled')
    const outletMessages = labelled(
      'telehub_outlet_messages',
      'What became of the messages of an outlet since there is the outlet; residual should be 0',
      'outlet',
      'term',
    )
    const outletBytes = labelled(
      'telehub_outlet_bytes_behind',
      'Bytes of the spool from the place of an outlet on',
      'outlet',
    )
    const outletAge = labelled(
      'telehub_outlet_age_seconds',
      'Age of the first message that an outlet has in hand',
      'outlet',
    )
    const outletUp = labelled(
      'telehub_outlet_up',
      'Whether the target of an outlet takes messages (1) or not (0)',
      'outlet',
    )
    const outletDead = labelled('telehub_outlet_dead', 'Dead letters of an outlet that wait', 'outlet')
    const ofOutlets = [outletMessages, outletBytes, outletAge, outletUp, outletDead]
    const hubs = labelled('telehub_hubs', 'Hubs of the cluster that are known, by state', 'state')
    const bus = labelled('telehub_bus_messages', 'Messages to and from other hubs since the processor started', 'what')
    const uses = labelled('telehub_pool_used', 'Users with the largest part of each shared pool', 'pool', 'user')
    const alarms = labelled('telehub_alarm', 'Alarms that are raised', 'name')
    this.#lookUp = async () => {
      for (const gauge of [lag, failures, waiting, balance, reasons, alarms, notified, unsent, ...ofOutlets])
        gauge.reset()
      uses.reset()
      for (const { pool, user, amount } of broker.uses) uses.set({ pool, user }, amount)
      for (const { name } of alarm.list()) alarms.set({ name }, 1)
      const numbers = await pipeline.numbers()
      for (const [cursor, left] of Object.entries(numbers.lag)) lag.set({ cursor }, left)
      for (const [target, count] of Object.entries(numbers.failures)) failures.set({ target }, count)
      for (const { consumer, target } of numbers.waiting) waiting.set({ consumer, target }, 1)
      for (const [term, count] of Object.entries(numbers.balance)) balance.set({ term }, count)
      for (const [term, counts] of Object.entries(numbers.reasons)) {
        for (const [reason, count] of counts) reasons.set({ term, reason }, count)
      }
      deadBytes.set(numbers.deadBytes)
      const { bytes, used, dropped, rolledUp } = numbers.store
      if (bytes !== undefined) storeBytes.set({ of: 'files' }, bytes)
      if (used !== undefined) storeBytes.set({ of: 'used' }, used)
      if (rolledUp) rollUpLag.set(rolledUp.behind)
      if (rolledUp) rollUpWaiting.set(rolledUp.waiting)
      for (const { tier, why, readings } of dropped) expired.set({ tier, reason: why }, readings)
      for (const { target, waiting, sent, failed, givenUp } of numbers.notifications.targets) {
        notified.set({ target, outcome: 'sent' }, sent)
        notified.set({ target, outcome: 'failed' }, failed)
        notified.set({ target, outcome: 'given_up' }, givenUp)
        unsent.set({ target }, waiting)
      }
      skipped.set(numbers.notifications.skipped)
      for (const { name: outlet, state, bytesBehind, oldest, balance, dead } of numbers.outlets) {
        for (const [term, count] of Object.entries(balance)) outletMessages.set({ outlet, term }, count)
        outletBytes.set({ outlet }, bytesBehind)
        outletAge.set({ outlet }, oldest === undefined ? 0 : Math.max(0, (Date.now() - oldest) / 1_000))
        outletUp.set({ outlet }, state === 'up' ? 1 : 0)
        outletDead.set({ outlet }, dead.letters)
      }
      if (!numbers.cluster) return
      const { hubs: states, ...messages } = numbers.cluster
      for (const [state, count] of Object.entries(states)) hubs.set({ state }, count)
      for (const [what, count] of Object.entries(messages)) bus.set({ what }, count)
    }
  }

  /** Prometheus text exposition format. */
  async text(): Promise<string> {
    // The processor may be starting or stopping: the other numbers are shown all the same.
    await this.#lookUp().catch(() => {})
    return this.#registry.metrics()
  }

  get contentType(): string {
    return this.#registry.contentType
  }
}
