import { resolve } from 'node:path'
import { Admission } from './auth/admission.js'
import { Broker } from './broker/broker.js'
import { brokerSettings } from './broker/broker-settings.js'
import { Commands, commandSettings } from './commands/commands.js'
import type { Settings } from './config/settings.js'
import { Identity } from './disk/identity.js'
import { DataDirLock } from './disk/lock.js'
import { HubCondition } from './http/health.js'
import { httpSettings } from './http/http-settings.js'
import { HttpServer } from './http/server.js'
import { Inlets } from './inlets/inlets.js'
import type { Log } from './observe/log.js'
import { Observation } from './observe/observation.js'
import { RefusalCounts } from './observe/refusal-counts.js'
import { OwnMapping, PipelineThread, pipelineAlarms } from './pipeline/pipeline-thread.js'
import { Feeds, feedSettings } from './push/feeds.js'
import { startParts, together } from './runtime/lifecycle.js'
import { warnOfFewFiles } from './runtime/open-files.js'
import { Work } from './runtime/work.js'
import { Shadows, shadowSettings } from './shadows/shadows.js'
import { Ingest, SpoolShares, spoolAlarms, spoolSettings } from './spool/ingest.js'
import { Spool } from './spool/spool.js'
import { Connections, connectionLimits } from './transport/connections.js'
import { Listeners, listenerSettings } from './transport/listeners.js'
import { Tls, tlsPaths } from './transport/tls.js'

/*
 * The hub, in the order that a message takes:
 *   device ─► listeners ─► broker ─► ingest ─► SPOOL ─► PUBACK ─► MQTT subscribers          here, the broker thread
 *                                                │
 *                                                ├─ cursor live ──► registry, $hub/last ─► broker      pipeline.ts,
 *                                                ├─ cursor record ─► decode, map ─► STORE              the processor
 *                                                │  or bridge ─► RABBITMQ or KAFKA ─► record ─► STORE  thread
 *   back end ─► telehub.publish ─► broker        └─ cursors of outlets and bus ─► other systems, other hubs
 */

export interface Hub {
  /** Undefined without a listener, like mqttsUrl. */
  readonly mqttUrl: string | undefined
  readonly mqttsUrl: string | undefined
  readonly httpUrl: string
  readonly webSocketUrl: string
  /** Whether kept sessions were still being restored when the hub began to serve. */
  readonly restoring: boolean
  /** Resolves when all is stopped, with a sentence for each part that did not stop in order. */
  stop(): Promise<string[]>
  /** Applies what can change while the hub runs, and logs what needs a restart. */
  reload(settings: Settings): Promise<void>
  /** Resolves, with the reason, if the hub cannot go on. */
  readonly failed: Promise<Error>
}

/** Starts everything, sinks first. Resolves when the hub serves. Throws a `HubError` that names a remedy. */
export async function startHub(settings: Settings, log: Log, version: string): Promise<Hub> {
  const dir = resolve(settings['data.dir'])
  // What every part uses: counters, the list of damage, the audit log, and a clock that is right before the machine's is.
  const { counters, incidents, auditLog, audit, clock, live } = new Observation(settings, dir, log)

  // The data directory: which hub this is, and a lock that keeps a second one out.
  const lock = new DataDirLock({ dir, version, log })
  const identity = new Identity({ dir, version, incidents, log })

  // Who may do what: users with their rules, logins of browsers, bans of those who guess.
  const admission = new Admission(settings, dir, { clock, audit, incidents, log })
  const { authority, logins, bans, pairing, adminKey } = admission

  // The spool keeps every accepted message, raw and in order, until all that read it have passed.
  const spool = new Spool({ ...spoolSettings(settings, dir), clock, lock, incidents, log })

  // Behind the spool, in the processor thread: decode, map, store, or hand over to RabbitMQ, Kafka and outlets (pipeline.ts).
  const pipeline = new PipelineThread({ settings, dir, identity, sharing: authority, spool, counters, incidents, log })
  const mapping = new OwnMapping({ settings, dir, pipeline, incidents, log })
  const refusals = new RefusalCounts(pipeline)

  // The entrance to the spool: a publish is within the budgets, or refused and counted.
  const shares = new SpoolShares({ limitBytes: settings['spool.limit'], spool, sharing: authority })
  const ingest = new Ingest({ spool, shares, counters, refusals })

  // MQTT: sessions and subscriptions, who may publish and subscribe, and who is to get what.
  const work = new Work()
  const broker = new Broker({
    ...brokerSettings(settings, dir),
    ...{ version, identity, authority, work, sink: ingest, presence: pipeline, clock },
    ...{ counters, refusals, audit, incidents, log },
  })

  // Commands to devices: on disk, held back while a device is away, and sent in order.
  const commands = new Commands({
    ...commandSettings(settings, dir),
    ...{ broker, replies: pipeline.api, spool, authority, identity, clock, counters, audit, incidents, log },
  })

  // Desired and reported state of devices, by the topics of AWS IoT.
  const shadows = new Shadows({ ...shadowSettings(settings, dir), broker, authority, clock, counters, incidents, log })

  // The bytes: connections that are read as fast as the disk and the subscribers allow, and the ways in.
  const connections = new Connections({
    limits: connectionLimits(settings),
    ...{ work, gate: authority, server: broker, backpressure: [ingest, broker], counters, log },
  })
  const tls = settings['tls.cert'] ? new Tls({ paths: tlsPaths(settings), clock: Date, log }) : undefined
  const listeners = new Listeners({ ...listenerSettings(settings), tls, connections, counters, log })
  const inlets = new Inlets({ settings, dir, identity, broker, backpressure: [ingest, broker], log })

  // For screens and operators: feeds, alarms and metrics, and the HTTP server with API and dashboard.
  const feeds = new Feeds({ ...feedSettings(settings), pipeline: pipeline.api, broker, authority, counters })
  const condition = new HubCondition({
    checks: [...spoolAlarms(spool, dir, live), ...pipelineAlarms(pipeline, live), mapping.alarm, tls?.alarm],
    ...{ identity, broker, commands, shadows, connections, spool, pipeline, feeds, inlets },
    ...{ incidents, auditLog, counters, log },
  })
  const http = new HttpServer({
    ...httpSettings(settings),
    ...{ version, tls, authority, logins, bans, pairing, adminKey, ...condition.views, clock, counters, audit, log },
    ...{ pipeline: pipeline.api, mapping, admin: broker.admin, publisher: broker, auditLog, live },
    ...{ commands, shadows, feeds, webSockets: listeners },
  })

  // The way back: what is on disk is acknowledged and distributed, what the processor makes goes to subscribers.
  spool.reportTo(ingest, pipeline)
  ingest.reportTo(broker)
  pipeline.deliverTo(broker, feeds, commands)
  broker.commandsFrom(commands)
  authority.reportTo(broker, pipeline, feeds, commands)
  logins.reportTo(broker)
  incidents.enterInto(pipeline)
  clock.learnFrom(spool)
  live.reportTo(connections, broker, mapping)
  warnOfFewFiles(settings, log)
  const stop = await startParts([
    ...[...(tls ? [tls] : []), lock, identity, auditLog, audit, ...admission.parts, spool, clock, mapping],
    together('broker and processor', [pipeline, broker]), // Each reads much after a crash, in a thread of its own.
    ...[commands, shadows, incidents, refusals, ...condition.parts, feeds, http, connections, listeners, inlets],
  ])
  audit.record({ event: 'hub', result: 'started', what: `telehub ${version}` })
  return {
    mqttUrl: listeners.mqttUrl,
    mqttsUrl: listeners.mqttsUrl,
    httpUrl: http.url,
    webSocketUrl: http.webSocketUrl,
    restoring: broker.restoring !== undefined,
    stop: () => {
      audit.record({ event: 'hub', result: 'stopping' })
      return stop(live.current['shutdown.timeout'])
    },
    reload: next => live.reload(next),
    failed: Promise.race([lock.lost, broker.failed]),
  }
}
