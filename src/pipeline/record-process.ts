import { join, resolve } from 'node:path'
import { Receipts } from '../accounting/receipts.js'
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
import { Recorder } from './recorder.js'
import { sparkplugReaderOf } from './sparkplug/sparkplug.js'
import { dependenciesOf, mappingOf, openRabbit, openStore, seriesGuardOf } from './targets.js'

/**
 * Runs `telehub process`: the record consumer alone, on any machine that reaches RabbitMQ and the store. Resolves when
 * running; the function returned stops the consumer, with a sentence for each part that did not stop in order.
 */
export async function startProcess(settings: Settings, log: SentenceLog): Promise<() => Promise<string[]>> {
  for (const key of ['rabbitmq.url', 'influx.url'] as const) {
    if (settings[key] === '') {
      throw new HubError(
        'bad_settings',
        `${key}: required, as telehub process reads from RabbitMQ and writes to InfluxDB`,
      )
    }
  }
  const dir = resolve(settings['data.dir'])
  const dependencies = dependenciesOf(settings, log, 'messages wait in RabbitMQ')
  // This process is no hub: every message is from a hub that waits for the receipt.
  const rabbit = await openRabbit(settings, '', false, dependencies)
  const store = await openStore(settings, dir, { report: (_, sentence) => log.warn(sentence) })
  const shares: UserShares = { isOpen: false, usual: settings['limits.share'] / 100, own: new Map() }
  const guard = seriesGuardOf(settings, { shares })
  const sparkplug = sparkplugReaderOf(settings, join(dir, 'sparkplug'), log)
  const mapping = mappingOf(settings, sparkplug.reader, await loadRuleDecoders(settings.mapping))
  const recorder = new Recorder({ mapping, guard, store })
  const suspects = new ConsumerSuspects(join(dir, 'process'), { log })
  const consumers = new Consumers({
    dependencies,
    dead: rabbit,
    consumers: [
      {
        name: 'record',
        reader: rabbit.reader('record'),
        suspects: suspects.of('record', recordBatch, 'poison'),
        handle: async messages => {
          const outcomes = await recorder.handle(messages)
          await sparkplug.births.flush()
          return outcomes
        },
        batch: recordBatch,
        ledger: new Receipts(rabbit),
      },
    ],
    clock: machineClock,
  })
  const stop = await startParts([
    { name: rabbit.name, start: () => {}, stop: () => rabbit.stop() },
    { name: 'sparkplug', start: () => sparkplug.births.start(), stop: () => sparkplug.births.flush() },
    { name: 'store', start: () => store.start(), stop: () => store.stop() },
    consumers,
  ])
  return () => stop(settings['shutdown.timeout'])
}
