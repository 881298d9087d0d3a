import { join, resolve } from 'node:path'
import type { BalanceSheet } from '../accounting/balance-sheet.js'
import { queueServerName } from '../config/config.js'
import { influxAddress, type Settings } from '../config/settings.js'
import { DeadLetterFiles } from '../dead-letters/dead-letters.js'
import { isSet } from '../observe/clock.js'
import type { IncidentReporter } from '../observe/incidents.js'
import type { SentenceLog } from '../observe/log.js'
import type { Sharing } from '../runtime/user-shares.js'
import type { TimeSeriesStore } from '../store/store.js'
import type { RuleDecoders } from './decoders/rule-decoders.js'
import { Dependencies } from './dependencies.js'
import { Mapping } from './mapping.js'
import { Presets } from './presets/presets.js'
import { SeriesGuard } from './series-guard.js'
import type { SparkplugReader } from './sparkplug/reader.js'

/*
 * The mapping and the store that the settings choose, for the hub and for `telehub process`.
 */

export function dependenciesOf(settings: Settings, log: SentenceLog, meanwhile: string): Dependencies {
  const server = queueServerName(settings)
  return new Dependencies({
    names: {
      store: settings['influx.url'] ? 'InfluxDB' : 'DuckDB',
      ...(server && { queue: server }),
      disk: 'the disk',
    },
    meanwhile,
    clock: Date,
    log,
  })
}

/** @param decoders Decoders of the rules of these settings */
export function mappingOf(settings: Settings, sparkplug: SparkplugReader, decoders: RuleDecoders): Mapping {
  const json = {
    depth: settings['limits.jsonDepth'],
    fields: settings['limits.jsonFields'],
    inflated: settings['limits.inflated'],
  }
  return new Mapping(settings.mapping, json, {
    clock: { isSet: () => isSet(Date.now()) },
    zone: settings['time.zone'],
    absent: settings['values.absent'],
    sparkplug,
    decoders,
    presets: new Presets(settings['presets.off']),
  })
}

export async function openStore(
  settings: Settings,
  dir: string,
  incidents: IncidentReporter,
): Promise<TimeSeriesStore> {
  const url = settings['influx.url']
  if (!url) {
    const { DuckDbStore } = await import('../store/duckdb.js')
    const folder = settings['export.nightly']
    return new DuckDbStore({ path: join(dir, 'store.duckdb'), incidents, days: folder && resolve(folder) })
  }
  const { InfluxStore } = await import('../store/influxdb.js')
  return new InfluxStore({ ...influxAddress(settings), incidents })
}

/** Makes the series guard. Without `path` the series that were seen are forgotten when the process ends. */
export function seriesGuardOf(
  settings: Settings,
  sharing: Sharing,
  kept: { readonly path?: string; readonly incidents?: IncidentReporter } = {},
): SeriesGuard {
  return new SeriesGuard({
    series: settings['limits.series'],
    perMinute: settings['limits.seriesPerMinute'],
    sharing,
    monotonic: performance,
    ...kept,
  })
}

/** Makes the files of dead letters. Letters that go for newer ones are entered into the balance sheet. */
export function deadLetterFilesOf(
  settings: Settings,
  dir: string,
  {
    balance,
    ...others
  }: {
    readonly sharing: Sharing
    readonly balance: BalanceSheet
    readonly log: SentenceLog
    readonly incidents: IncidentReporter
  },
): DeadLetterFiles {
  return new DeadLetterFiles({
    dir: join(dir, 'dead'),
    limitBytes: settings['dead.limit'],
    dropped: letters =>
      balance.moved(
        letters.map(letter => ({ message: letter, reason: letter.reason, partly: letter.partly })),
        'dropped',
      ),
    ...others,
  })
}
