import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { queueServerName } from '../config/config.js'
import { influxAddress } from '../config/settings.js'
import { nodeFiles } from '../disk/files.js'
import { describe, HubError, withoutPasswords } from '../errors.js'
import { parseSeriesKey, type SeriesId } from '../model.js'
import { bytes, count, many } from '../runtime/terminal.js'
import { CursorFile } from '../spool/cursor-file.js'
import type { InfluxStore } from '../store/influxdb.js'
import { clockDifference } from './date-header.js'
import { type Check, type Examined, type Finding, fine, problem, warning } from './finding.js'

/** Checks the store of time series. */
export const store: Check = examined => (examined.settings['influx.url'] ? influx(examined) : duckdb(examined))

const influxCheck = 'InfluxDB'

async function influx({ settings, dir, clock }: Examined): Promise<Finding[]> {
  const { InfluxStore } = await import('../store/influxdb.js')
  const influxStore = new InfluxStore({ ...influxAddress(settings), timeoutMs: 10_000 })
  try {
    return await examined(influxStore, clock.now(), dir)
  } finally {
    await influxStore.stop()
  }
}

async function examined(influxStore: InfluxStore, now: number, dir: string): Promise<Finding[]> {
  const { database, place } = influxStore
  const said = (error: unknown) => withoutPasswords(describe(error)).replace(/^InfluxDB cannot be used: /, '')
  let found: Finding[]
  try {
    found = clockDifference('clock of InfluxDB', await influxStore.date(), now)
  } catch (error) {
    return [
      problem(
        influxCheck,
        `nothing answers at ${place} (${said(error)})`,
        'Start it, or fix influx.url; meanwhile the spool keeps arriving messages, up to spool.limit.',
      ),
    ]
  }
  let version: string
  try {
    version = await influxStore.version()
  } catch (error) {
    return [...found, problem(influxCheck, said(error), 'Fix that; meanwhile the spool keeps arriving messages.')]
  }
  const finding = await kept(influxStore, version).catch((error: unknown): Finding => {
    // A server with a time of the server's own says so.
    if (error instanceof HubError && error.code === 'bad_request')
      return fine(influxCheck, `version ${version} answers; it says itself how long ${database} keeps readings`)
    const remedy = 'Check influx.token, influx.org and influx.bucket, or user and password in influx.url.'
    return problem(influxCheck, `version ${version} refuses: ${said(error)}`, remedy)
  })
  if (finding === undefined) {
    const sentence = `version ${version} answers; the database ${database} is not there yet, and made by the hub`
    return [...found, fine(influxCheck, sentence)]
  }
  return [...found, finding, ...(finding.level === 'problem' ? [] : await identity(influxStore, dir))]
}

/** Checks how long the database keeps readings. Undefined without a database. */
async function kept({ database, policies }: InfluxStore, version: string): Promise<Finding | undefined> {
  const usual = await policies.usual()
  if (!usual) return undefined
  if (usual.keptMs === Number.POSITIVE_INFINITY)
    return fine(influxCheck, `version ${version} answers; the database ${database} keeps readings for ever`)
  const change = /^v?1\./.test(version)
    ? `ALTER RETENTION POLICY "${usual.name}" ON "${database}" DURATION INF`
    : `influx bucket update --retention 0 --id …`
  return warning(
    influxCheck,
    `retention policy ${usual.name} of ${database} deletes readings older than ${usual.keptMs / 3_600_000}h0m0s`,
    `Keep them for ever, unless this is meant: ${change}.`,
  )
}

/** Number of last readings of this hub that are looked up. */
const samples = 5

/**
 * Checks whether this hub has written to the database, which then has the last readings that the hub knows, unless some
 * are on their way.
 */
async function identity(influxStore: InfluxStore, dir: string): Promise<Finding[]> {
  const known = lastReadings(dir)
  if (known.length === 0) return []
  const { database } = influxStore
  try {
    let there = 0
    for (const { series, time } of known) {
      const { times } = await influxStore.history({ series, from: time, to: time + 1_000, points: 1, fn: 'last' })
      if (times.length > 0) there++
    }
    const seen = `${there} of ${known.length} last readings of this hub found in ${database}`
    if (there > 0) return [fine('store identity', seen)]
    return [
      warning(
        'store identity',
        seen,
        'Is influx.url the database that this hub has written to? If so, the readings are still in the spool or in RabbitMQ, or were deleted.',
      ),
    ]
  } catch (error) {
    return [warning('store identity', `not looked at: ${withoutPasswords(describe(error))}`, 'Fix that first.')]
  }
}

interface LastJson {
  readonly time: number
  readonly values?: readonly { readonly series: string; readonly time?: number }[]
}

/**
 * The last readings that the hub keeps for new subscribers in registry.json, the latest first. Times in microseconds.
 */
function lastReadings(dir: string): { readonly series: SeriesId; readonly time: number }[] {
  try {
    const { last } = JSON.parse(readFileSync(join(dir, 'registry.json'), 'utf8')) as {
      last: [topic: string, json: string][]
    }
    return last
      .map(([, json]) => JSON.parse(json) as LastJson)
      .sort((a, b) => b.time - a.time)
      .flatMap(({ time, values: [newest] = [] }) => {
        const series = parseSeriesKey(newest?.series ?? '')
        return series ? [{ series, time: Math.round((newest?.time ?? time) * 1_000) }] : []
      })
      .slice(0, samples)
  } catch {
    // No file yet, or a damaged one, which another check reports.
    return []
  }
}

const duckCheck = 'DuckDB'

async function duckdb({ dir, hasDir, hub, settings }: Examined): Promise<Finding[]> {
  const path = join(dir, 'store.duckdb')
  const size = nodeFiles.sizeOfSync(path)
  if (!hasDir || size === undefined) return [fine(duckCheck, 'no store yet: the hub makes it')]
  if (hub) return [fine(duckCheck, `${path}, ${bytes(size)}; not read while the hub uses it`)]
  const { inspectDuckDb } = await import('../store/duckdb-file.js')
  try {
    const { series, readings, sequence } = await inspectDuckDb(path)
    const seen = `${many(readings, 'reading')} of ${count(series)} series, ${bytes(size)}`
    return [fine(duckCheck, seen), ...belongs(sequence, dir, queueServerName(settings) !== undefined)]
  } catch (error) {
    if (!(error instanceof HubError) || error.code === 'store_unavailable') {
      return [
        problem(
          duckCheck,
          describe(error),
          'Fix that; meanwhile the spool keeps arriving messages, up to spool.limit.',
        ),
      ]
    }
    if (error.code === 'data_dir_locked') {
      return [problem(duckCheck, describe(error), 'Stop that program: only the hub may have the store open.')]
    }
    return [
      problem(
        duckCheck,
        describe(error),
        'At its next start the hub sets the damaged file aside and fills a new one with what the spool still has. To keep older readings, bring store.duckdb back from a copy first.',
      ),
    ]
  }
}

/** Checks whether the store belongs to this spool: both keep the number of the last stored message. */
function belongs(stored: number | undefined, dir: string, hasQueue: boolean): Finding[] {
  const check = 'store identity'
  // With a queue server between the two, the spool does not know what is stored.
  if (stored === undefined || hasQueue) return []
  let wanted: number
  try {
    const { place } = new CursorFile(join(dir, 'spool'), 'record', nodeFiles).read()
    if (!place) return []
    wanted = place.sequence
  } catch {
    // Another check reports why the cursor cannot be read.
    return []
  }
  // The cursor is saved now and then, so the store may be ahead by what was stored since.
  if (stored >= wanted - 1) return [fine(check, `the store has the messages up to ${stored}, as the spool says`)]
  return [
    problem(
      check,
      `the store ends at message ${stored}, and the spool says that ${wanted - 1} are stored: it is an older copy, or lost its end`,
      'At its next start the hub stores again what the spool still has (spool.keep says for how long); for the rest bring back a later copy.',
    ),
  ]
}
