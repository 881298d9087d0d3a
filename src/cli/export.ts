import { createWriteStream } from 'node:fs'
import { mkdir, rename, rm, rmdir } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable, Transform, type Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { Asked } from '../contract/contract.js'
import { fileSynced } from '../disk/files.js'
import { describe, HubError, systemCode } from '../errors.js'
import { partitionOf } from '../runtime/partitions.js'
import { bytes, count, many } from '../runtime/terminal.js'
import { type Call, command, type Flags, usage } from './command.js'
import { hubFlags, hubOf } from './hub-address.js'
import type { HubClient } from './hub-client.js'
import { instant, instantHelp } from './instant.js'
import { printJson } from './print.js'

/* `telehub export`: stored readings, as a file. */

const formats = ['csv', 'jsonl', 'line', 'parquet'] as const
type Format = (typeof formats)[number]

const exportFlags = {
  from: { value: 'TIME', help: `only readings from this time on. ${instantHelp}` },
  to: { value: 'TIME', help: 'only readings before this time; default: now' },
  format: { value: 'FORMAT', help: `${formats.join(', ')}; default: by the name of FILE, else csv` },
  out: { value: 'FILE', help: 'write to this file, which appears when it is whole; default: standard output' },
  partition: {
    value: 'DIR',
    help: 'write Parquet files by measurement and day: DIR/measurement=…/day=…/telehub.parquet',
  },
  ...hubFlags,
} as const satisfies Flags

export const exportCommand = command({
  name: 'export',
  takes: ['[SELECTOR]'],
  summary: 'write stored readings to a file: CSV, JSON lines, line protocol or Parquet',
  about:
    'SELECTOR chooses series in the words of alert rules: measurement, field, tags, device, class; * is any text.\n' +
    'Either field=temperature tags.room=kitchen, or {field: temperature, tags: {room: [kitchen, bath]}}.\n' +
    'Without one: all series that you may read. Times are in UTC with microseconds. docs/data.md describes the columns.',
  flags: exportFlags,
  examples: [
    "telehub export 'field=temperature tags.room=kitchen' --from 7d --out kitchen.csv",
    'telehub export --from 2026-01-01 --to 2026-02-01 --out january.parquet',
    "telehub export 'measurement=zigbee2mqtt' --from 1d --partition /backup/readings",
  ],
  run: async call => {
    const { from, to, out, partition, json } = call.flags
    const [select = ''] = call.args
    const now = call.terminal.now()
    const range = { from: instant('from', from, now), to: instant('to', to, now) ?? now }
    if (partition !== undefined && out !== undefined) throw usage('--partition and --out exclude each other', 'export')
    if (partition !== undefined) return partitioned(call, partition, { select, ...range })
    const format = formatOf(call.flags.format, out)
    if (format === 'parquet' && out === undefined) throw usage('Parquet needs a file: --out FILE', 'export')
    const written = await download(call, hubOf(call), { select, ...range, format }, out)
    if (out !== undefined) {
      const { rows, size } = written
      if (json) return printJson(call.terminal.out, { file: out, rows, bytes: size })
      call.terminal.out(`${many(rows, 'row')}, ${bytes(size)}: ${out}\n`)
    }
    return 0
  },
})

function formatOf(given: string | undefined, out: string | undefined): Format {
  const ending = /\.(csv|jsonl|ndjson|parquet|lp|line)$/.exec(out ?? '')?.[1] ?? 'csv'
  const word = given ?? ({ ndjson: 'jsonl', lp: 'line' } as Readonly<Record<string, string>>)[ending] ?? ending
  const format = formats.find(one => one === word)
  if (!format) throw usage(`--format: given ${word}, allowed are ${formats.join(', ')}`, 'export')
  return format
}

interface Written {
  readonly rows: number
  readonly size: number
}

/** Writes an export to a file, or to standard output. A file that is not whole keeps the name FILE.part. */
async function download(
  { terminal }: Pick<Call, 'terminal'>,
  hub: HubClient,
  asked: Asked<'GET /api/export'>,
  out: string | undefined,
): Promise<Written> {
  const response = await hub.download('GET /api/export', asked)
  const meter = new ExportMeter(response.headers, asked.format ?? 'jsonl')
  const part = `${out}.part`
  const timer = setInterval(() => terminal.progress(meter.text), 200)
  try {
    const target: Writable = out === undefined ? process.stdout : createWriteStream(part)
    await pipeline(Readable.fromWeb(response.body as never), meter, target, { end: out !== undefined })
    if (out !== undefined) {
      // The name never leads to less than the whole, whatever happens to the machine.
      await fileSynced(part)
      await rename(part, out)
    }
  } catch (error) {
    if (out !== undefined) await rm(part, { force: true })
    // Whoever reads the output has enough.
    if (systemCode(error) === 'EPIPE') return meter
    throw failed(error, out)
  } finally {
    clearInterval(timer)
    terminal.progress('')
  }
  return meter
}

function failed(error: unknown, out: string | undefined): HubError {
  if (systemCode(error) && out !== undefined)
    return new HubError('bad_request', `${out} cannot be written: ${describe(error)}; nothing was kept`)
  return new HubError('stopping', `the hub ended the export before it was whole (${describe(error)}); run it again`)
}

/** Counts what passes: rows by the ends of lines outside of quotes, and the time of the last row. */
class ExportMeter extends Transform implements Written {
  rows = 0
  size = 0
  readonly #whole: number
  readonly #first: number
  readonly #last: number
  readonly #format: Format
  #isQuoted = false
  #time = Number.NaN

  constructor(headers: Headers, format: Format) {
    super()
    this.#format = format
    this.#whole = Number(headers.get('telehub-bytes') ?? 0)
    const [first = Number.NaN, last = Number.NaN] = (headers.get('telehub-extent') ?? '').split(' ').map(Number)
    this.#first = first
    this.#last = last
    if (format === 'parquet') this.rows = Number(headers.get('telehub-rows') ?? 0)
    // The head of a CSV file is no row.
    if (format === 'csv') this.rows = -1
  }

  override _transform(chunk: Buffer, _encoding: string, done: (error: null, chunk: Buffer) => void): void {
    this.size += chunk.length
    if (this.#format !== 'parquet') this.#countLines(chunk)
    done(null, chunk)
  }

  /** A text for people: rows, bytes, and how far. */
  get text(): string {
    const share =
      this.#whole > 0 ? this.size / this.#whole : (this.#time - this.#first) / Math.max(1, this.#last - this.#first)
    const percent = Number.isFinite(share) ? `, ${Math.min(100, Math.floor(share * 100))} %` : ''
    return `${count(Math.max(0, this.rows))} rows, ${bytes(this.size)}${percent}`
  }

  #countLines(chunk: Buffer): void {
    const quotes = this.#format !== 'jsonl'
    let last = -1
    for (let at = 0; at < chunk.length; at++) {
      const byte = chunk[at]
      if (byte === quote && quotes && (this.#format === 'csv' || chunk[at - 1] !== backslash))
        this.#isQuoted = !this.#isQuoted
      else if (byte === lineEnd && !this.#isQuoted) {
        this.rows++
        last = at
      }
    }
    const time = last < 0 ? undefined : timeIn(chunk.subarray(0, last), this.#format)
    if (time !== undefined) this.#time = time
  }
}

const quote = 34
const backslash = 92
const lineEnd = 10

/** Returns the time of the last line of a text, in milliseconds. Undefined when that is not whole. */
function timeIn(text: Buffer, format: Format): number | undefined {
  const line = text.subarray(text.lastIndexOf(lineEnd) + 1).toString('latin1')
  if (format === 'line') return Number(/ (\d+)\d{6}$/.exec(line)?.[1] ?? 0) || undefined
  const time = Date.parse(/^(?:\{"time":")?(\d{4}-[\d:.T-]+Z)/.exec(line)?.[1] ?? '')
  return Number.isNaN(time) ? undefined : time
}

const dayMs = 864e5

/** Writes a Parquet file for each measurement and day, in UTC. A file that is there is replaced. */
async function partitioned(
  call: Call<typeof exportFlags>,
  dir: string,
  { select, from, to }: { readonly select: string; readonly from: number | undefined; readonly to: number },
): Promise<number> {
  if (call.flags.format !== undefined && call.flags.format !== 'parquet')
    throw usage('--partition writes Parquet, and no other format', 'export')
  const hub = hubOf(call)
  const begin = from ?? (await firstTime(hub, { select, to }))
  let files = 0
  let rows = 0
  let size = 0
  if (begin !== undefined) {
    for (const measurement of await measurementsOf(hub)) {
      for (let day = Math.floor(begin / dayMs) * dayMs; day < to; day += dayMs) {
        const asked = {
          select,
          measurement,
          from: Math.max(day, begin),
          to: Math.min(day + dayMs, to),
          format: 'parquet' as const,
        }
        const folder = join(dir, ...partitionOf(measurement, day))
        const file = join(folder, 'telehub.parquet')
        await mkdir(folder, { recursive: true })
        const written = await download(call, hub, asked, file).finally(() => rmdir(folder).catch(() => {}))
        if (written.rows === 0) {
          await rm(file)
          await rmdir(folder)
          continue
        }
        files++
        rows += written.rows
        size += written.size
      }
    }
  }
  if (call.flags.json) return printJson(call.terminal.out, { dir, files, rows, bytes: size })
  call.terminal.out(`${many(rows, 'row')} in ${many(files, 'file')}, ${bytes(size)}: ${dir}\n`)
  return 0
}

async function firstTime(hub: HubClient, asked: { readonly select: string; readonly to: number }) {
  const { headers, body } = await hub.download('GET /api/export', { ...asked, format: 'jsonl' })
  await body?.cancel()
  const first = headers.get('telehub-extent')?.split(' ')[0]
  return first === undefined ? undefined : Number(first)
}

async function measurementsOf(hub: HubClient): Promise<readonly string[]> {
  const found = new Set<string>()
  for (let after: string | undefined; ; ) {
    const page = await hub.ask('GET /api/series', { limit: 10_000, after })
    for (const { measurement } of page.series) found.add(measurement)
    after = page.next
    if (after === undefined) return [...found].sort()
  }
}
