import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { nodeFiles } from '../disk/files.js'
import { describe, HubError, withoutPasswords } from '../errors.js'
import { parseSeriesKey, type SeriesId } from '../model.js'
import { bytes, count, many } from '../runtime/terminal.js'
import { CursorFile } from '../spool/cursor-file.js'
import { clockDifference } from './date-header.js'
import { type Check, type Examined, type Finding, fine, problem, warning } from './finding.js'

/** Checks the store of time series. */
export const store: Check = examined => (examined.settings['influx.url'] ? influx(examined) : duckdb(examined))

const influxCheck = 'InfluxDB'

interface InfluxReply {
  readonly results?: readonly {
    readonly series?: readonly {
      readonly columns: readonly string[]
      readonly values: readonly (readonly unknown[])[]
    }[]
    readonly error?: string
  }[]
  readonly error?: string
}

async function influx({ settings, dir, clock }: Examined): Promise<Finding[]> {
  const url = new URL(settings['influx.url'])
  const path = url.pathname.split('/').filter(Boolean)
  const database = decodeURIComponent(path.pop() ?? 'telehub')
  const base = `${url.origin}${path.map(part => `/${part}`).join('')}`
  const headers: Record<string, string> = url.username
    ? {
        authorization: `Basic ${Buffer.from(`${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`).toString('base64')}`,
      }
    : {}
  const ask = (to: string) => fetch(base + to, { headers, redirect: 'manual', signal: AbortSignal.timeout(10_000) })
  let ping: Response
  try {
    ping = await ask('/ping')
  } catch (error) {
    const why = withoutPasswords(describe((error as { cause?: unknown }).cause ?? error))
    return [
      problem(
        influxCheck,
        `nothing answers at ${base} (${why})`,
        'Start it, or fix influx.url; meanwhile the spool keeps arriving messages, up to spool.limit.',
      ),
    ]
  }
  const found = clockDifference('clock of InfluxDB', ping.headers.get('date'), clock.now())
  const version = ping.headers.get('x-influxdb-version')
  if (version === null) {
    return [
      ...found,
      problem(
        influxCheck,
        `what answers at ${base} does not say that it is InfluxDB`,
        'Check host, port and path in influx.url.',
      ),
    ]
  }
  const query = async (q: string): Promise<InfluxReply & { readonly status: number }> => {
    const response = await ask(`/query?db=${encodeURIComponent(database)}&q=${encodeURIComponent(q)}`)
    return { status: response.status, ...((await response.json().catch(() => ({}))) as InfluxReply) }
  }
  const policies = await query(
    `SHOW RETENTION POLICIES ON "${database.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`,
  )
  const said = policies.error ?? policies.results?.[0]?.error
  if (policies.status === 401 || policies.status === 403) {
    return [
      ...found,
      problem(
        influxCheck,
        `version ${version} refuses this user: ${said ?? policies.status}`,
        'Check user and password in influx.url.',
      ),
    ]
  }
  if (said && /database not found/.test(said)) {
    return [
      ...found,
      fine(influxCheck, `version ${version} answers; the database ${database} is not there yet, and made by the hub`),
    ]
  }
  if (said)
    return [...found, warning(influxCheck, `version ${version} says: ${said}`, 'Check the database in influx.url.')]
  const { columns = [], values = [] } = policies.results?.[0]?.series?.[0] ?? {}
  const rows = values.map(row => Object.fromEntries(columns.map((name, i) => [name, row[i]])))
  const standard = rows.find(row => row.default === true)
  if (standard && standard.duration !== '0s') {
    found.push(
      warning(
        influxCheck,
        `retention policy ${standard.name} of ${database} deletes readings older than ${standard.duration}`,
        `Keep them for ever, unless this is meant: ALTER RETENTION POLICY "${standard.name}" ON "${database}" DURATION INF.`,
      ),
    )
  } else found.push(fine(influxCheck, `version ${version} answers; the database ${database} keeps readings for ever`))
  return [...found, ...(await identity(settings['influx.url'], database, dir))]
}

/** Number of last readings of this hub that are looked up. */
const samples = 5

/**
 * Checks whether this hub has written to the database, which then has the last readings that the hub knows, unless some
 * are on their way.
 */
async function identity(url: string, database: string, dir: string): Promise<Finding[]> {
  const known = lastReadings(dir)
  if (known.length === 0) return []
  const { InfluxStore } = await import('../store/influxdb.js')
  const influxStore = new InfluxStore({ url })
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
  } finally {
    await influxStore.stop()
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
    return [fine(duckCheck, seen), ...belongs(sequence, dir, settings['rabbitmq.url'] !== '')]
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
  // With RabbitMQ between the two, the spool does not know what is stored.
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
