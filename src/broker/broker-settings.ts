import { join } from 'node:path'
import type { Settings } from '../config/settings.js'
import { connectionRoom } from '../runtime/open-files.js'
import { maxIncoming } from '../sessions/sessions.js'
import type { BrokerOptions } from './broker.js'
import { ratesOf } from './direct-publisher.js'

export function brokerSettings(settings: Settings, dir: string) {
  return {
    sessions: {
      dir: join(dir, 'sessions'),
      fsync: settings['spool.fsync'],
      queue: {
        window: settings['limits.window'],
        messages: settings['limits.queue'],
        bytes: settings['limits.queueBytes'],
        ageMs: settings['limits.queueAge'],
      },
      conflated: settings['limits.conflated'],
      queueMemory: settings['limits.queueMemory'],
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
    requests: { dir: join(dir, 'requests'), rates: ratesOf(settings) },
    connections: connectionRoom(settings).mqtt,
    traces: settings['otel.url'] ? { url: settings['otel.url'], percent: settings['otel.percent'] } : undefined,
    isClustered: settings['cluster.name'] !== '',
    restoreWaitMs: settings['start.wait'],
    sysMs: settings['sys.interval'],
    sysReadable: settings['sys.read'] === 'all',
  } satisfies Partial<BrokerOptions>
}
