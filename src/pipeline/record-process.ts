import { join, resolve } from 'node:path'
import { Receipts } from '../accounting/receipts.js'
import { queueServerName } from '../config/config.js'
import type { Settings } from '../config/settings.js'
import { HubError } from '../errors.js'
import type { SentenceLog } from '../observe/log.js'
import { startParts } from '../runtime/lifecycle.js'
import { machineClock } from '../runtime/time.js'
import type { UserShares } from '../runtime/user-shares.js'
import { ConsumerSuspects } from './consumer-suspects.js'
import { Consumers } from './consumers.js'
import { loadRuleDecoders } from './decoders/rule-decoders.js'
import { recordBatch } from './hub-consumers.js'
import { openQueueServer } from './queue-server.js'
import { Recorder } from './recorder.js'
import { sparkplugReaderOf } from './sparkplug/sparkplug.js'
import { dependenciesOf, mappingOf, openStore, seriesGuardOf } from './targets.js'

/**
 * Runs `telehub process`: the record consumer alone, on any machine that reaches RabbitMQ or Kafka and the store. Resolves when
 * running; the function returned stops the consumer, with a sentence for each part that did not stop in order.
 */
export async function startProcess(settings: Settings, log: SentenceLog): Promise<() => Promise<string[]>> {
  const missing = (key: string) =>
    new HubError(
      'bad_settings',
      `${key}: required, as telehub process reads from a queue server and writes to InfluxDB`,
    )
  const kind = queueServerName(settings)
  if (!kind) throw missing('rabbitmq.url or kafka.brokers')
  if (settings['influx.url'] === '') throw missing('influx.url')
  const dir = resolve(settings['data.dir'])
  const dependencies = dependenciesOf(settings, log, `messages wait in ${kind}`)
  // This process is no hub: every message is from a hub that waits for the receipt.
  const server = await openQueueServer(settings, '', false, dependencies)
  if (!server) throw missing('rabbitmq.url or kafka.brokers')
  const store = await openStore(settings, dir, { report: (_, sentence) => log.warn(sentence) })
  const shares: UserShares = { isOpen: false, usual: settings['limits.share'] / 100, own: new Map() }
  const guard = seriesGuardOf(settings, { shares })
  const sparkplug = sparkplugReaderOf(settings, join(dir, 'sparkplug'), log)
  const mapping = mappingOf(settings, sparkplug.reader, await loadRuleDecoders(settings.mapping))
  const recorder = new Recorder({ mapping, guard, store })
  const suspects = new ConsumerSuspects(join(dir, 'process'), { log })
  const consumers = new Consumers({
    dependencies,
    dead: server.deadLetters(undefined),
    consumers: [
      {
        name: 'record',
        reader: server.reader('record'),
        suspects: suspects.of('record', recordBatch, 'poison'),
        handle: async messages => {
          const outcomes = await recorder.handle(messages)
          await sparkplug.births.flush()
          return outcomes
        },
        batch: recordBatch,
        ledger: new Receipts(server),
      },
    ],
    clock: machineClock,
  })
  const stop = await startParts([
    { name: server.name, start: () => {}, stop: () => server.stop() },
    { name: 'sparkplug', start: () => sparkplug.births.start(), stop: () => sparkplug.births.flush() },
    { name: 'store', start: () => store.start(), stop: () => store.stop() },
    consumers,
  ])
  return () => stop(settings['shutdown.timeout'])
}
