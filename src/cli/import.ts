import { createHash } from 'node:crypto'
import { appendFileSync, closeSync, existsSync, openSync, readFileSync, readSync, statSync } from 'node:fs'
import { basename } from 'node:path'
import { readYamlText } from '../config/config.js'
import type { Answer } from '../contract/contract.js'
import { describe, HubError } from '../errors.js'
import { isInfluxUrl, readInflux } from '../import/influx-rows.js'
import { RowBatch } from '../import/row-batch.js'
import { type FileFormat, fileFormats, readRows } from '../import/row-files.js'
import { plain } from '../observe/log.js'
import { count, many } from '../runtime/terminal.js'
import { type Call, command, type Flags, usage } from './command.js'
import { hubFlags, hubOf } from './hub-address.js'
import type { HubClient } from './hub-client.js'
import { printJson } from './print.js'

/* `telehub import`: rows of files into the store of a running hub. */

const precisions = { ns: 'n', us: 'u', ms: 'ms', s: 's' } as const

const importFlags = {
  map: { value: 'RULE', help: 'mapping rule for rows that name no series: YAML, or a file with it' },
  topic: { value: 'TOPIC', help: 'topic of such rows, with columns in braces; default: that of the rule' },
  format: { value: 'FORMAT', help: `${fileFormats.join(', ')}; default: by the name of the file` },
  precision: { value: 'UNIT', help: 'of the times in line protocol: ns, us, ms or s; default ns' },
  report: { value: 'FILE', help: 'where refused lines are listed; default: NAME.mistakes.jsonl in this folder' },
  'dry-run': { help: 'store nothing, and show the first mistakes by line' },
  again: { help: 'begin anew, also if the file was imported already' },
  ...hubFlags,
} as const satisfies Flags

type ImportCall = Call<typeof importFlags>
type ImportState = Answer<'POST /api/imports'>

export const importCommand = command({
  name: 'import',
  takes: ['FILE', '[FILE2]', '[FILE3]', '[FILE4]', '[FILE5]', '[FILE6]', '[FILE7]', '[FILE8]'],
  summary: 'store the rows of files (CSV, JSON lines, line protocol, Parquet), of Home Assistant or of an InfluxDB 1.x',
  about:
    'Files of telehub export, and line protocol as influx_inspect export writes it, name their series. The recorder database of\n' +
    'Home Assistant is read as messages of its state stream. The rows of others need a mapping rule; {column} in its topic is the value of that column. The same command again goes on where an import\n' +
    'was interrupted; a row that is stored already is not stored twice. docs/data.md describes the formats.',
  flags: importFlags,
  examples: [
    'telehub import january.csv',
    'telehub import weather.csv --map \'{topic: "weather/{station}/hourly", measurement: weather, time: measured_at}\' --dry-run',
    'telehub import old-influx.lp --precision ns',
    'telehub import home-assistant_v2.db --dry-run',
    'telehub import http://reader:secret@influx.lan:8086/telegraf',
  ],
  run: async call => {
    const rule = ruleOf(call.flags.map)
    let refused = 0
    for (const file of call.args) refused += await importFile(call, file, rule)
    return refused > 0 ? 1 : 0
  },
})

type Rule = Readonly<Record<string, unknown>> | undefined

function ruleOf(given: string | undefined): Rule {
  if (given === undefined) return undefined
  const text = existsSync(given) ? readFileSync(given, 'utf8') : given
  const { value, mistakes } = readYamlText(text)
  if (mistakes[0]) throw usage(`--map: line ${mistakes[0].line}: ${mistakes[0].sentence}`)
  const rule: unknown = Array.isArray(value) && value.length === 1 ? value[0] : value
  if (typeof rule === 'object' && rule !== null && !Array.isArray(rule)) return rule as Rule
  throw usage('--map: allowed is a mapping rule such as {topic: "weather/{station}", measurement: weather}')
}

function formatOf({ format }: ImportCall['flags'], file: string): FileFormat {
  const ending = /\.(\w+)$/.exec(file)?.[1] ?? ''
  const words: Readonly<Record<string, string>> = {
    ndjson: 'jsonl',
    json: 'jsonl',
    lp: 'line',
    db: 'recorder',
    sqlite: 'recorder',
    sqlite3: 'recorder',
    txt: 'line',
    tsv: 'csv',
  }
  const word = format ?? words[ending] ?? ending
  const found = fileFormats.find(one => one === word)
  if (found) return found
  throw usage(`--format: given ${JSON.stringify(word)}, allowed are ${fileFormats.join(', ')}`, 'import')
}

/** Imports one file. Resolves with the number of rows refused. */
async function importFile(call: ImportCall, file: string, rule: Rule): Promise<number> {
  const { flags, terminal } = call
  const unit = flags.precision ?? 'ns'
  if (!(unit in precisions)) throw usage(`--precision: given ${unit}, allowed are ns, us, ms, s`, 'import')
  const precision = precisions[unit as keyof typeof precisions]
  const isServer = isInfluxUrl(file)
  const format = isServer ? 'line' : formatOf(flags, file)
  const topic = flags.topic ?? (typeof rule?.topic === 'string' ? rule.topic : undefined)
  const dry = flags['dry-run'] === true
  const hub = hubOf(call)
  const shown = isServer ? new URL(file).host + new URL(file).pathname : file
  const { job, size } = isServer ? nameOfServer(file) : nameOf(file, [format, topic, precision, rule])
  const begun = await hub.ask('POST /api/imports', {
    job,
    file: basename(shown),
    rule,
    dry,
    again: flags.again === true,
  })
  if (begun.finished) return told(call, shown, begun, 'was imported already; --again imports it once more')
  const report = new Report(flags.report ?? `${basename(shown)}.mistakes.jsonl`, dry, terminal)
  if (begun.next > 1) {
    terminal.out(`${shown}: goes on behind ${many(begun.rows, 'row')}\n`)
    report.add(begun.mistakes)
  }
  const sender = new Sender(hub, { job, next: begun.next, report })
  try {
    const batch = new RowBatch(begun.position)
    for await (const rows of rowsOf(file, { format, topic, precision, from: begun.position })) {
      for (const row of rows) {
        if (row.mistake !== undefined) report.add([{ line: row.line, reason: 'bad_line', detail: row.mistake }])
        batch.add(row)
        if (!batch.isFull) continue
        await sender.send(batch, false)
        terminal.progress(progressOf(sender.answer, batch.share(size)))
        batch.clear()
      }
    }
    await sender.send(batch, true)
    await sender.idle()
  } finally {
    terminal.progress('')
  }
  return told(call, shown, sender.answer as ImportState, report.sentence)
}

async function* rowsOf(file: string, options: Parameters<typeof readRows>[1]): ReturnType<typeof readRows> {
  try {
    yield* isInfluxUrl(file) ? readInflux(file, options.from) : readRows(file, options)
  } catch (error) {
    if (error instanceof HubError) throw error
    // A password may stand in an address.
    throw new HubError('bad_request', `${file.replace(/\/\/[^/@]*@/, '//')}: ${describe(error)}`)
  }
}

function told({ flags, terminal }: ImportCall, file: string, answer: ImportState, more: string): number {
  const { rows, stored, dead, ignored } = answer
  if (flags.json) printJson(terminal.out, { file, rows, stored, dead, ignored })
  else {
    const would = flags['dry-run'] ? 'would be stored' : 'stored'
    terminal.out(
      `${plain(file)}: ${many(rows, 'row')}: ${count(stored)} ${would}, ${count(dead)} refused, ${count(ignored)} ignored${more && `; ${more}`}\n`,
    )
  }
  return dead
}

function progressOf(answer: ImportState | undefined, share: number): string {
  if (share === 0) return `${count(answer?.rows ?? 0)} rows, ${count(answer?.dead ?? 0)} refused`
  const filled = Math.round(Math.min(1, share) * 30)
  const bar = `[${'█'.repeat(filled)}${' '.repeat(30 - filled)}]`
  return `${bar} ${Math.floor(share * 100)} %, ${count(answer?.rows ?? 0)} rows, ${count(answer?.dead ?? 0)} refused`
}

/** Returns the name of an import: the same for the same beginning and size of the file, and the same options. */
function nameOf(file: string, options: readonly unknown[]): { readonly job: string; readonly size: number } {
  try {
    const { size } = statSync(file)
    const begin = Buffer.alloc(Math.min(size, 65_536))
    const descriptor = openSync(file, 'r')
    readSync(descriptor, begin, 0, begin.length, 0)
    closeSync(descriptor)
    // A database of SQLite may have its newest rows in a log beside it.
    const log = statSync(`${file}-wal`, { throwIfNoEntry: false })
    const hash = createHash('sha256')
      .update(begin)
      .update(JSON.stringify([size, ...options, ...(log ? [log.size, log.mtimeMs] : [])]))
    return { job: hash.digest('hex').slice(0, 32), size }
  } catch (error) {
    throw new HubError('bad_request', `${file} cannot be read: ${describe(error)}`)
  }
}

/** Returns the name of an import from a server, which has no size. */
function nameOfServer(address: string): { readonly job: string; readonly size: number } {
  const { host, pathname } = new URL(address)
  return {
    job: createHash('sha256')
      .update(host + pathname)
      .digest('hex')
      .slice(0, 32),
    size: Number.POSITIVE_INFINITY,
  }
}

/** Sends batches in order; the next one is read from the file while one is being stored. */
class Sender {
  answer: ImportState | undefined
  readonly #hub: HubClient
  readonly #job: string
  readonly #report: Report
  #next: number
  #underWay: Promise<void> = Promise.resolve()

  constructor(
    hub: HubClient,
    { job, next, report }: { readonly job: string; readonly next: number; readonly report: Report },
  ) {
    this.#hub = hub
    this.#job = job
    this.#next = next
    this.#report = report
  }

  /** Resolves when the batch before this one is stored. */
  async send({ content, position }: RowBatch, last: boolean): Promise<void> {
    await this.#underWay
    const batch = this.#next++
    this.#underWay = this.#ask({ batch, position, last, content })
    // A failure is met by the next call.
    this.#underWay.catch(() => {})
  }

  idle(): Promise<void> {
    return this.#underWay
  }

  async #ask(batch: {
    readonly batch: number
    readonly position: string
    readonly last: boolean
    readonly content: string
  }) {
    try {
      this.answer = await this.#hub.ask('POST /api/imports/:job', { job: this.#job, ...batch })
      this.#report.add(this.answer.mistakes)
    } catch (error) {
      throw new HubError('stopping', `${describe(error)}; run the same command again, and the import goes on`)
    }
  }
}

/** Refused lines: in a file, or of a dry run the first on the terminal. */
class Report {
  readonly #path: string
  readonly #dry: boolean
  readonly #terminal: ImportCall['terminal']
  #mistakes = 0

  constructor(path: string, dry: boolean, terminal: ImportCall['terminal']) {
    this.#path = path
    this.#dry = dry
    this.#terminal = terminal
  }

  get sentence(): string {
    if (this.#mistakes === 0) return ''
    return this.#dry ? '' : `refused lines: ${this.#path}`
  }

  add(mistakes: ImportState['mistakes']): void {
    if (mistakes.length === 0) return
    if (this.#dry) {
      for (const { line, reason, detail } of mistakes.slice(0, Math.max(0, mostShown - this.#mistakes)))
        this.#terminal.out(`line ${line}: ${reason}: ${plain(detail)}\n`)
    } else this.#append(mistakes.map(one => `${JSON.stringify(one)}\n`).join(''))
    this.#mistakes += mistakes.length
  }

  #append(lines: string): void {
    try {
      appendFileSync(this.#path, lines)
    } catch (error) {
      const what = `${this.#path}, the list of refused lines, cannot be written: ${describe(error)}`
      throw new HubError(
        'bad_request',
        `${what}; make room or give another with --report, and run the same command again`,
      )
    }
  }
}

/** Mistakes that a dry run shows. */
const mostShown = 20
