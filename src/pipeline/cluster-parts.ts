import { join } from 'node:path'
import { addressOf, Cluster, clusterOf, holderOf } from '../cluster/cluster.js'
import { inMilliseconds, machineClock } from '../runtime/time.js'
import type { BrokerLink } from './broker-link.js'
import { Downlink } from './downlink.js'
import type { SpoolProgress } from './spool-progress.js'
import type { ProcessorThreadData } from './thread-ports.js'

/** The cursor of the spool whose messages go to the other hubs. */
export const busCursor = 'bus'

/** Makes what connects this hub with the others. Undefined without a cluster. */
export async function openCluster(
  { settings, dir, hubId, version }: Omit<ProcessorThreadData, 'shares' | 'isFirst'>,
  broker: BrokerLink,
  progress: SpoolProgress,
): Promise<Cluster | undefined> {
  if (settings['cluster.name'] === '') return undefined
  const { RabbitBus } = await import('../rabbitmq/bus.js')
  const holder = holderOf(clusterOf(settings), hubId)
  return new Cluster({
    cluster: settings['cluster.name'],
    self: { id: hubId, version, address: addressOf(settings), startedAt: Date.now() },
    bus: new RabbitBus({ urls: settings['rabbitmq.url'], hubId, holder, clock: machineClock }),
    dir: join(dir, 'cluster'),
    delivery: broker,
    wanted: broker,
    lag: {
      get count() {
        return progress.lag[busCursor] ?? 0
      },
    },
    clock: machineClock,
    wallClock: inMilliseconds(machineClock),
    monotonic: performance,
    incidents: broker,
    log: broker,
  })
}

/** Returns what delivers the messages of back ends: to the subscribers of all hubs. */
export function downlinkOf(broker: BrokerLink, cluster: Cluster | undefined): Downlink {
  if (!cluster) return new Downlink(broker)
  const { toAll } = cluster
  return new Downlink({ publish: messages => toAll.publish(messages), ask: message => broker.ask(message) })
}
