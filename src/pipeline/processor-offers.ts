import { join } from 'node:path'
import { BalanceSheet } from '../accounting/balance-sheet.js'
import { queueServerName } from '../config/config.js'
import type { ThreadExit } from '../runtime/thread-exit.js'
import { machineClock } from '../runtime/time.js'
import type { Link } from '../runtime/worker-link.js'
import { alertOffers } from './alert-api.js'
import { BrokerLink } from './broker-link.js'
import type { Consumers } from './consumers.js'
import { boardOffers } from './home/board-desk.js'
import { type Pipeline, startPipeline } from './pipeline.js'
import { Registry } from './registry.js'
import { ReplyWatch } from './reply-watch.js'
import { storeAnswer } from './retention/answer.js'
import { notRunning, SpoolProgress } from './spool-progress.js'
import type { BrokerOffers, ProcessorOffers, ProcessorThreadData } from './thread-ports.js'

/** Returns the calls that the processor thread offers. Nothing runs before `start`. */
export function processorOffers(
  data: ProcessorThreadData,
  link: () => Link<BrokerOffers>,
  exit: ThreadExit,
): ProcessorOffers {
  const { settings, dir } = data
  const broker = new BrokerLink(link)
  const sharing = { shares: data.shares }
  const progress = new SpoolProgress(queueServerName(settings) !== undefined)
  const registry = new Registry(join(dir, 'registry.json'), { incidents: broker, sharing })
  const balance = new BalanceSheet({
    dir: join(dir, 'balance'),
    offsets: progress,
    clock: machineClock,
    incidents: broker,
  })
  const replies = new ReplyWatch(settings['presets.off'], broker)
  let started: Pipeline | undefined
  const running = () => {
    if (!started) throw notRunning()
    return started
  }
  return {
    start: async position => {
      started = await startPipeline(data, { broker, sharing, progress, registry, balance, replies, exit }, position)
    },
    stop: async ({ position, drainMs }) => {
      if (!started) return { left: undefined, problems: [] }
      progress.committed(position)
      await started.consumers.drain(drainMs)
      const left = leftBehind(balance.sheet(progress), started.consumers)
      const problems = await started.stop(settings['shutdown.timeout'] / 4)
      started = undefined
      return { left, problems }
    },
    abandon: () => exit.prepare(),
    committed: position => {
      progress.committed(position)
      // Messages may be on disk before there is a cursor to ask.
      if (started) progress.note(Date.now(), balance.highest)
    },
    present: presence => {
      registry.setPresence(presence)
      started?.alerts.presence(presence.clientId, presence.online, presence.since)
    },
    refused: refusals => balance.refused(refusals),
    lost: messages => balance.lost(messages),
    shares: changed => {
      sharing.shares = changed
    },
    diskFull: () => progress.giveUpKept(),
    status: () => {
      const { consumers, deadBytes, seriesAlarm, notifications, alerts, home, retention, outlets, cluster } = running()
      const status = consumers.status()
      return {
        ...status,
        dependencies: [...status.dependencies, ...outlets.dependencies()],
        outlets: outlets.status(),
        sheet: balance.sheet(progress),
        deadBytes: deadBytes(),
        store: retention.numbers,
        cluster: cluster?.numbers,
        notifications: { targets: notifications.status(), skipped: notifications.skipped },
        alarms: {
          ...{ series: seriesAlarm(), notify: notifications.alarm() },
          ...{ alerts: alerts.alarm(), boards: home.boards.alarm(), store: retention.alarm() },
          ...{ outlets: outlets.alarm(), cluster: cluster?.hubs.alarm() },
        },
      }
    },
    ...alertOffers(() => running().alerts),
    series: query => running().queries.series(query),
    history: ({ query, rules }) => running().queries.history(query, rules),
    influxql: ({ question, rules }) => running().queries.influxql(question, rules),
    beginExport: ({ query, rules }) => running().queries.export(query, rules),
    nextOfExport: id => running().queries.exports.next(id),
    endExport: id => started?.queries.exports.close(id),
    askSql: query => running().queries.sql(query),
    beginImport: begun => running().queries.imports.begin(begun),
    takeImport: batch => running().queries.imports.take(batch),
    devices: asked => running().queries.devices(asked),
    home: query => running().home.answer(query),
    ...boardOffers(() => running().home.desk),
    find: query => running().queries.finder.find(query, Date.now()),
    topics: query => running().live.explore.topics(query),
    topicMessages: query => running().live.explore.messages(query, running().queries),
    removeClient: client => {
      running().alerts.forgetDevice(client.clientId)
      return running().removal.client(client)
    },
    removeDescribed: device => running().removal.described(device),
    tryMapping: ({ topic, payload }) => running().queries.tryMapping(topic, Buffer.from(payload)),
    checkRule: asked => running().queries.rules.check(asked, running().live.explore),
    inbox: query => running().queries.inbox.list(query, running().live.explore),
    noise: query => running().queries.noise.list(query),
    dead: ({ filter, limit }) => running().queries.dead(filter, limit),
    balance: query => running().queries.balance(query, running().retention.expired),
    hubs: () => running().cluster?.hubs.list() ?? [],
    store: ({ keep }) => storeAnswer(running().retention, keep),
    openFeed: query => running().feeds.open(query),
    nextOfFeed: feed => running().feeds.next(feed),
    closeFeed: feed => started?.feeds.close(feed),
    notifyTargets: () => running().notifications.status(),
    notifyRoutes: () => running().notifications.routes(),
    pushState: user => running().notifications.pushState(user),
    subscribePush: subscription => running().notifications.subscribe(subscription),
    unsubscribePush: ({ user, id }) => running().notifications.unsubscribe(user, id),
    testTarget: target => running().notifications.test(target),
    acknowledgeByToken: ({ token, note }) => running().notifications.acknowledgeBy(token, note),
    spool: () => progress.cursors.status(),
    outlets: () => running().outlets.status(),
    pauseOutlet: ({ name, paused }) => running().outlets.pause(name, paused),
    holdStore: ms => running().seriesChanges.hold(ms),
    releaseStore: () => running().seriesChanges.release(),
    changeSeries: change => running().seriesChanges.change(change),
    begin: job => running().replays.begin(job),
    progress: job => running().replays.progress(job),
    cancel: job => started?.replays.cancel(job),
    commandTopics: device => running().queries.commandTopics(device),
    expectReply: command => replies.expect(command, running().queries.knowledge),
    forgetReplies: ids => replies.forget(ids),
  }
}

/** Returns a sentence for people about messages not stored when the hub stops. */
function leftBehind(
  { spool, queue }: { readonly spool: number; readonly queue: number },
  consumers: Consumers,
): string | undefined {
  if (spool === 0 && queue === 0) return undefined
  const waits = consumers.status().waiting.map(({ consumer, target }) => `${consumer} waits for ${target}`)
  const why = waits.length > 0 ? waits.join(', ') : 'storing them takes longer than shutdown.timeout allows'
  const where = [spool > 0 ? `${spool} in the spool` : '', queue > 0 ? `${queue} in the queue server` : ''].filter(
    Boolean,
  )
  return `not stored yet: ${where.join(', ')} (${why}); the next start continues`
}
