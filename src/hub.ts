import { statfs } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { AdminKey } from './auth/admin-key.js'
import { Authority } from './auth/authority.js'
import { Bans } from './auth/bans.js'
import { KnownSources } from './auth/known-sources.js'
import { Logins } from './auth/logins.js'
import type { Verb } from './auth/rules.js'
import { Broker } from './broker/broker.js'
import { changeOf } from './config/reload.js'
import type { Settings } from './config/settings.js'
import { Identity } from './disk/identity.js'
import { DataDirLock } from './disk/lock.js'
import { describe } from './errors.js'
import { HttpServer } from './http/server.js'
import type { Paired } from './http/session.js'
import { Alarms } from './observe/alarms.js'
import { Audit } from './observe/audit.js'
import { auditDir } from './observe/audit-chain.js'
import { AuditLog } from './observe/audit-log.js'
import { Clock } from './observe/clock.js'
import { EventLoopDelay } from './observe/event-loop-delay.js'
import { Incidents } from './observe/incidents.js'
import type { Log } from './observe/log.js'
import { increment, Metrics } from './observe/metrics.js'
import { RefusalCounts } from './observe/refusal-counts.js'
import { PipelineThread } from './pipeline/pipeline-thread.js'
import { startParts, together } from './runtime/lifecycle.js'
import { connectionsWithin, openFileLimit } from './runtime/open-files.js'
import { Work } from './runtime/work.js'
import { maxIncoming } from './sessions/sessions.js'
import { Ingest } from './spool/ingest.js'
import { Spool } from './spool/spool.js'
import { SpoolShares } from './spool/spool-shares.js'
import { Connections } from './transport/connections.js'
import { Listeners, listenError } from './transport/listeners.js'
import { Tls, tlsPaths } from './transport/tls.js'

/*
 * The hub, in the order that a message takes:
 *
 *   device ─► listeners ─► broker ─► ingest ─► SPOOL ─► PUBACK ─► MQTT subscribers          here, the broker thread
 *                                                │
 *                                                ├─ cursor live ──► registry, $hub/last ─► broker      pipeline.ts,
 *                                                └─ cursor record ─► decode, map ─► STORE              the processor
 *                                                   or bridge ─► RABBITMQ ─► record ─► STORE           thread
 *   back end ─► RABBITMQ telehub.publish ─► push ─► broker ─► MQTT subscribers
 */

export interface Hub {
  /** Undefined without a listener, like mqttsUrl. */
  readonly mqttUrl: string | undefined
  readonly mqttsUrl: string | undefined
  readonly httpUrl: string
  readonly webSocketUrl: string
  /** Resolves when all is stopped, with a sentence for each part that did not stop in order. */
  stop(): Promise<string[]>
  /** Applies what can change while the hub runs, and logs what needs a restart. */
  reload(settings: Settings): Promise<void>
  /** Resolves, with the reason, if the hub cannot go on. */
  readonly failed: Promise<Error>
}

/** Maximum number of accepted bytes that wait for the disk. Beyond this, no connection is read. */
const ingestBudgetBytes = 8e6

/** Starts everything, sinks first. Resolves when the hub serves. Throws a `HubError` that names a remedy. */
export async function startHub(settings: Settings, log: Log, version: string): Promise<Hub> {
  const dir = resolve(settings['data.dir'])
  const spoolDir = join(dir, 'spool')
  let current = settings
  const lock = new DataDirLock({ dir, log, lost: error => fail(error) })
  const tls = settings['tls.cert'] ? new Tls({ paths: tlsPaths(settings), clock: Date, log }) : undefined
  const secure = tls ? 's' : ''
  const hostInUrl = settings.host.includes(':') ? `[${settings.host}]` : settings.host
  let fail: (error: Error) => void = () => {}
  const failed = new Promise<Error>(resolveFailed => {
    fail = resolveFailed
  })

  const incidents = new Incidents({
    clock: Date,
    lost: messages => processor.tell('lost', messages),
    log,
  })

  const auditLog = new AuditLog({
    dir: auditDir(dir),
    limitBytes: settings['audit.limit'],
    clock: Date,
    incidents,
    log,
  })
  const audit = new Audit({ append: event => auditLog.append(event), clock: Date })

  const metrics = new Metrics({
    clients: () => broker.clients,
    connections: () => connections.count,
    delivered: () => connections.traffic.publishesOut,
    sessions: () => broker.counts.sessions,
    subscriptions: () => broker.counts.subscriptions,
    retained: () => broker.counts.retained,
    retainedBytes: () => broker.counts.retainedBytes,
    uses: () => broker.uses,
    spoolBytes: () => spool.bytes,
    eventLoopDelay: () => eventLoopDelay.longest,
    alarms: () => alarms.list(),
    incidents: () => incidents.list(),
    audit: () => auditLog,
    processor: async () => {
      const { sheet, seriesAlarm: _, ...numbers } = await processor.call('status', undefined)
      const { since, reasons, ...balance } = sheet
      return { ...numbers, balance, reasons }
    },
  })

  const work = new Work()

  const openFiles = openFileLimit()
  const room = connectionsWithin(openFiles, settings['limits.connections'], settings['http.connections'])
  if (room.mqtt < settings['limits.connections'] || room.http < settings['http.connections']) {
    log.warn(
      `this process may have ${openFiles} files open, which is enough for ${room.mqtt} MQTT connections ` +
        `(limits.connections) and ${room.http} HTTP connections (http.connections); raise it (ulimit -n, LimitNOFILE)`,
    )
  }

  const eventLoopDelay = new EventLoopDelay()

  const refusals = new RefusalCounts(
    refusals => processor.tell('refused', refusals),
    () => processor.isUp,
  )

  const clock = new Clock({ wall: Date, monotonic: performance, incidents })

  const identity = new Identity({ dir, incidents, log })

  const logins = new Logins({
    path: join(dir, 'logins.json'),
    loginMs: settings['auth.login'],
    maxMs: settings['auth.loginMax'],
    clock: Date,
    ended: () => broker.dismiss(),
    incidents,
  })

  const known = new KnownSources(join(dir, 'known.json'))

  const bans = new Bans({
    path: join(dir, 'bans.json'),
    failures: settings['auth.banAfter'],
    firstMs: settings['auth.ban'],
    exempt: settings['proxy.trusted'],
    clock: Date,
    changed: ({ source, until, times }, lifted) => {
      const detail = lifted ? 'by an operator' : `until ${new Date(until).toISOString()}, for the ${times}. time`
      log.info(`${lifted ? 'ban lifted' : 'banned'}: ${source}, ${detail}`)
      audit.repeated({ event: 'ban', result: lifted ? 'lifted' : 'banned', address: source, detail })
    },
  })

  const authority: Authority = new Authority({
    file: settings['auth.file'] && resolve(settings['auth.file']),
    anonymous: settings['auth.anonymous'],
    attempts: settings['auth.attempts'],
    share: settings['limits.share'] / 100,
    logins,
    known,
    bans,
    saltKey: join(dir, 'salt.key'),
    clock: Date,
    changed: () => {
      broker.reconsider()
      processor.tell('shares', authority.shares)
    },
    audit,
    log,
  })

  const spool = new Spool({
    dir: spoolDir,
    // The two newest segments are never deleted; a small limit needs room beside them.
    segmentBytes: Math.min(settings['spool.segment'], settings['spool.limit'] / 8),
    limitBytes: settings['spool.limit'],
    fsync: settings['spool.fsync'],
    clock,
    settled: () => ingest.settled(),
    committed: position => {
      broker.committed(position.sequence)
      processor.committed(position)
    },
    refused: () => processor.tell('diskFull', undefined),
    mayWrite: () => lock.held,
    log,
    incidents,
  })

  const ingest = new Ingest({
    log: spool,
    shares: new SpoolShares({
      limitBytes: settings['spool.limit'],
      bytes: () => spool.bytes,
      sharing: authority,
    }),
    budgetBytes: ingestBudgetBytes,
    relieved: () => connections.relieved(),
    received: bytes => {
      metrics.receivedBytes += bytes
    },
    accepted: qos => {
      metrics.received[qos]++
    },
    passed: publish => broker.passed(publish),
    settled: (publish, error, sequence) => broker.settled(publish, error, sequence),
    refused: ({ clientId }, reason) => {
      increment(metrics.refused, reason)
      refusals.add(clientId, reason)
    },
  })

  const broker: Broker = new Broker({
    id: () => identity.brokerId,
    version,
    work,
    authority,
    sessions: {
      dir: join(dir, 'sessions'),
      fsync: settings['spool.fsync'],
      queue: {
        window: settings['limits.window'],
        messages: settings['limits.queue'],
        bytes: settings['limits.queueBytes'],
        ageMs: settings['limits.queueAge'],
      },
      queueMemory: settings['limits.queueMemory'],
      isExpected: () => spool.position.sequence > 0,
      incidents,
      sessions: settings['limits.sessions'],
      sessionAgeMs: settings['limits.sessionAge'],
      retained: { messages: settings['limits.retained'], bytes: settings['limits.retainedBytes'] },
    },
    clients: {
      receiveMaximum: Math.min(settings['limits.inflight'], maxIncoming),
      maximumPacketSize: settings['limits.packet'],
      topicAliasMaximum: settings['limits.aliases'],
    },
    subscriptions: {
      subscriptions: settings['limits.subscriptions'],
      wildcards: settings['limits.wildcards'],
      allSubscriptions: settings['limits.allSubscriptions'],
      allWildcards: settings['limits.allWildcards'],
      plusLevels: settings['limits.plusLevels'],
    },
    connections: room.mqtt,
    sysMs: settings['sys.interval'],
    sysReadable: settings['sys.read'] === 'all',
    accept: (publish, inOrder) => ingest.accept(publish, inOrder),
    flush: () => spool.flush(),
    relieved: () => connections.relieved(),
    replay: after => spool.replay(after),
    clock,
    presence: presence => processor.present(presence),
    refused: (reason, clientId) => {
      increment(metrics.refused, reason)
      if (reason === 'publish') refusals.add(clientId, 'not_permitted')
    },
    dropped: what => increment(metrics.givenUp, what),
    statistics: () => ({
      traffic: connections.traffic,
      received: metrics.received[0] + metrics.received[1] + metrics.received[2],
      receivedBytes: metrics.receivedBytes,
      dropped: metrics.dropped,
    }),
    audit,
    log,
  })

  const connections: Connections = new Connections({
    limits: connectionLimits(settings, room.mqtt),
    work,
    protocol: connection => broker.protocol(connection),
    overloaded: () => ingest.overloaded || broker.overloaded,
    drain: () => broker.drained(),
    refused: (reason, sentence) => {
      increment(metrics.refused, reason)
      log.debug(sentence)
    },
    dropped: () => {
      metrics.dropped++
    },
  })

  const processor = new PipelineThread({
    settings,
    dir,
    hubId: () => identity.hubId,
    sharing: authority,
    position: () => spool.position,
    flushed: () => spool.flush(),
    left: sentence => log.info(sentence),
    offers: {
      live: async pushes => {
        await broker.publishAll(
          pushes.map(({ topic, json }) => ({ topic, payload: Buffer.from(json), qos: 0, retain: true })),
        )
      },
      outward: async messages => {
        await broker.publishAll(
          messages.map(({ payload, properties, ...message }) => ({
            ...message,
            payload: Buffer.from(payload),
            ...(properties && { properties: Buffer.from(properties) }),
          })),
        )
        await broker.flushed()
      },
      freed: bytes => spool.freed(bytes),
      stored: ({ messages, points }) => {
        metrics.stored += messages
        metrics.points += points
      },
      deadLettered: reason => increment(metrics.dead, reason),
      log: ({ level, sentence }) => log[level](sentence),
      incident: ({ kind, sentence, lost }) => incidents.report(kind, sentence, lost),
    },
    // The last thread may not have reported all that was deleted.
    restarted: () => spool.recount(),
    log,
  })

  const listeners: Listeners = new Listeners({
    host: settings.host,
    mqttPort: settings['mqtt.port'],
    mqttsPort: settings['mqtts.port'],
    tls,
    clientCertificates: settings['tls.clients'],
    webSocket: {
      origins: settings['ws.origins'],
      pingMs: settings['ws.ping'],
      packetBytes: settings['limits.packet'],
      helloBytes: settings['limits.hello'],
    },
    proxy: { trusted: settings['proxy.trusted'], protocol: settings['proxy.protocol'] },
    pending: room.mqtt,
    handshakeMs: settings['limits.connect'],
    accept: (stream, peer) => {
      if (bans.leftMs(peer.address) === 0 || known.hasSource(peer.address)) return connections.accept(stream, peer)
      increment(metrics.refused, 'banned')
      stream.on('error', () => {}).destroy()
    },
    refused: reason => increment(metrics.refused, reason),
    log,
  })

  const adminKey = new AdminKey(dir, log)

  const http = new HttpServer({
    host: settings.host,
    port: settings['http.port'],
    version,
    tls,
    hstsMs: settings['tls.hsts'],
    pipeline: processor.api,
    api: {
      sessions: (filter, most) => broker.listSessions(filter, most),
      endSession: which => broker.endSession(which),
      origins: settings['ws.origins'],
      ready: async () => {
        const { dependencies, waiting } = await processor.readiness()
        return {
          ready: !spool.full && !spool.failing,
          dependencies,
          waiting,
          alarms: alarms.list(),
          incidents: incidents.list(),
        }
      },
      metrics: async () => ({ text: await metrics.text(), contentType: metrics.contentType }),
      now: () => clock.now(),
    },
    authority,
    anonymous: settings['auth.anonymous'],
    logins,
    redeem: async code => pairedOf(await authority.redeem(code)),
    adminKey: adminKey.key,
    proxies: settings['proxy.trusted'],
    connections: room.http,
    perAddress: settings['http.address'],
    upgrade: (request, socket, head) => listeners.upgrade(request, socket, head),
    listenError,
    warn: sentence => log.warn(sentence),
    info: sentence => log.info(sentence),
    counted: reason => increment(metrics.refused, reason),
    audit,
    bans,
  })

  const alarms = new Alarms({
    checks: {
      full: () => (spool.full ? 'the spool is at its limit: publishes are refused, and devices keep them' : undefined),
      spool: () => {
        const percent = Math.floor(spool.fill * 100)
        if (percent < current['spool.alarm']) return undefined
        return `the spool is ${percent} % full (spool.limit); at 100 % publishes are refused, and devices keep them`
      },
      disk: async () => {
        if (spool.failing)
          return `the disk refuses what is written (${describe(spool.failing)}); devices keep and send again`
        const { bavail, bsize } = await statfs(dir)
        const free = bavail * bsize
        if (free >= Math.min(1e9, settings['spool.limit'] - spool.bytes)) return undefined
        return `the disk of data.dir has ${Math.round(free / 1e6)} MB left, less than the spool may take (spool.limit)`
      },
      series: async () => (await processor.call('status', undefined)).seriesAlarm,
      dead: async () => {
        const percent = Math.floor(
          ((await processor.call('status', undefined)).deadBytes / current['dead.limit']) * 100,
        )
        if (percent < 80) return undefined
        return `the dead letters have ${percent} % of dead.limit; at 100 % the oldest go: replay or drop some`
      },
      certificate: () => tls?.warning(),
      processor: () => processor.trouble,
      client_fight: () => broker.fights(),
      audit: () => auditLog.failure && `the audit log cannot be written: ${auditLog.failure}; make room on the disk`,
    },
    everyMs: 2_000,
    log,
  })

  const stop = await startParts([
    ...(tls ? [tls] : []),
    lock,
    identity,
    auditLog,
    audit,
    adminKey,
    logins,
    known,
    bans,
    authority,
    spool,
    {
      name: clock.name,
      start: () => {
        clock.learn(spool.latest)
        clock.start()
      },
      stop: () => clock.stop(),
    },
    // Both read much after a crash, each in a thread of its own.
    together('broker and processor', [processor, broker]),
    incidents,
    refusals,
    alarms,
    eventLoopDelay,
    http,
    connections,
    listeners,
  ])
  audit.record({ event: 'hub', result: 'started', what: `telehub ${version}` })
  return {
    mqttUrl: listeners.mqttPort === undefined ? undefined : `mqtt://${hostInUrl}:${listeners.mqttPort}`,
    mqttsUrl: listeners.mqttsPort === undefined ? undefined : `mqtts://${hostInUrl}:${listeners.mqttsPort}`,
    httpUrl: `http${secure}://${hostInUrl}:${http.port}`,
    webSocketUrl: `ws${secure}://${hostInUrl}:${http.port}/mqtt`,
    stop: () => {
      audit.record({ event: 'hub', result: 'stopping' })
      return stop(current['shutdown.timeout'])
    },
    reload: async next => {
      const { settings: now, applied, forProcessor, needRestart } = changeOf(current, next)
      current = now
      log.level = current['log.level']
      const { mqtt } = connectionsWithin(openFiles, current['limits.connections'], current['http.connections'])
      connections.limits = connectionLimits(current, mqtt)
      if (forProcessor) await processor.reload(current)
      const changed = applied.length > 0 ? `changed now: ${applied.join(', ')}` : 'nothing changed'
      log.info(`settings read again; ${changed}`)
      if (needRestart.length > 0) log.warn(`changed in the settings, but needs a restart: ${needRestart.join(', ')}`)
      audit.record({ event: 'change', result: 'settings', what: applied.join(' ') })
    },
    failed,
  }
}

function connectionLimits(settings: Settings, connections: number): Connections['limits'] {
  return {
    connections,
    perAddress: settings['limits.address'],
    connectMs: settings['limits.connect'],
    helloBytes: settings['limits.hello'],
    helloMemory: settings['limits.helloMemory'],
    packetBytes: settings['limits.packet'],
    inflight: settings['limits.inflight'],
    inflightBytes: settings['limits.inflightBytes'],
    messages: settings['limits.messages'],
    bytes: settings['limits.bytes'],
    outboxBytes: settings['limits.outbox'],
    stuckMs: settings['limits.stuck'],
    keepAliveMs: settings['limits.keepalive'],
  }
}

/**
 * Returns the credentials and permissions that a device is sent. `{client}` stays in the filters: the device knows its
 * own id.
 */
function pairedOf({ user, password }: Awaited<ReturnType<Authority['redeem']>>): Paired {
  const allowed = (verb: Verb) =>
    user.rules
      .filter(rule => rule.effect === 'allow' && (rule.verb === verb || rule.verb === 'all'))
      .map(({ filter }) => filter.replaceAll('{user}', user.name))
  return { user: user.name, password, clients: user.clients, publish: allowed('publish'), read: allowed('read') }
}
