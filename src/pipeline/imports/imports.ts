import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { MappingRule } from '../../config/settings.js'
import { HubError } from '../../errors.js'
import type { FieldValue, Message, Outcome, Point, Reading, Rejection, Tags } from '../../model.js'
import { SerialQueue } from '../../runtime/serial-queue.js'
import { Slices } from '../../runtime/slices.js'
import type { TimeSeriesStore } from '../../store/store.js'
import { isTopicName } from '../../topics.js'
import type { Dependencies } from '../dependencies.js'
import type { Mapping } from '../mapping.js'
import { ownRuleMistakes } from '../own-rules/own-rules.js'
import type { TrialMappings } from '../own-rules/trial-mappings.js'
import { Recorder } from '../recorder.js'
import type { SeriesGuard } from '../series-guard.js'
import { type ImportCounts, ImportJournal, type ImportMistake, type ImportRecord } from './import-journal.js'

export type { ImportCounts } from './import-journal.js'

/** The beginning of an import, or of the rest of one. */
export interface ImportBegin {
  /** Name of the import: the same for the same file, rule and options. */
  readonly job: string
  readonly file: string
  readonly user: string
  /** Mapping rule for the rows. Undefined: that of the hub for the topic. */
  readonly rule?: Readonly<Record<string, unknown>> | undefined
  /** Tries the rows, and stores nothing. */
  readonly dry: boolean
  /** Begins anew even if there is a beginning. */
  readonly again: boolean
}

export interface ImportBatch {
  readonly job: string
  readonly batch: number
  /** Where the next batch begins, in the words of the command. */
  readonly position: string
  readonly last: boolean
  /** JSON of {@link NamedRows} or {@link MappedRows}. */
  readonly content: string
}

interface AnyRows {
  /** Line of each row in the file. */
  readonly n: readonly number[]
  /** Lines that the command could not read. */
  readonly bad?: number
}

/** Rows that name their series, as columns of equal length. */
interface NamedRows extends AnyRows {
  readonly series: readonly (readonly [measurement: string, tags: Tags, field: string])[]
  /** Position in `series`. */
  readonly s: readonly number[]
  /** Microseconds since the epoch. */
  readonly t: readonly number[]
  readonly v: readonly FieldValue[]
}

/** Rows that a mapping reads. */
interface MappedRows extends AnyRows {
  readonly topics: readonly string[]
  /** Position in `topics`. */
  readonly m: readonly number[]
  readonly payloads: readonly string[]
}

export interface ImportAnswer extends ImportCounts {
  readonly next: number
  readonly position: string
  readonly finished: boolean
  readonly mistakes: readonly ImportMistake[]
}

export interface ImportsOptions {
  readonly store: TimeSeriesStore
  readonly guard?: SeriesGuard | undefined
  readonly trials: Pick<TrialMappings, 'trial'>
  readonly dependencies: Dependencies
  /** Data directory. */
  readonly dir: string
}

/** An import under way. */
interface OpenImport {
  readonly begun: ImportBegin
  readonly mapping: Mapping
  record: ImportRecord
}

/** Rows of one write: messages of devices wait for one such write at most. */
const writeRows = 5_000

/** Share of the time of a write for which the store is left to others afterwards. */
const restShare = 0.25

/** Refused rows that an answer names. */
const mostMistakes = 1_000

const mostOpen = 16

/**
 * Stores rows of files. They go through the mapping, the types of fields, the limits of series and an account of their
 * own, and to no subscriber, screen or alert.
 */
export class Imports {
  readonly #options: ImportsOptions
  readonly #journal: ImportJournal
  readonly #open = new Map<string, OpenImport>()
  readonly #turns = new SerialQueue()
  #isRead = false

  constructor(options: ImportsOptions) {
    this.#options = options
    this.#journal = new ImportJournal(join(options.dir, 'imports.json'))
  }

  /** What became of all imported rows. */
  get totals(): ImportCounts {
    this.#read()
    return this.#journal.totals
  }

  /** Resolves with where the import goes on. Rejects with `bad_request` for a wrong rule. */
  begin(begun: ImportBegin): Promise<ImportAnswer> {
    return this.#turns.run(async () => {
      this.#read()
      const { job, file, user, rule, dry, again } = begun
      const mapping = this.#options.trials.trial(rule && [checked(rule)])
      const known = dry || again ? undefined : this.#journal.get(job)
      const now = Date.now()
      const counts = { rows: 0, stored: 0, dead: 0, ignored: 0 }
      const fresh = { next: 1, position: '', isFinished: false, mistakes: [] }
      const record: ImportRecord = known ?? { ...counts, ...fresh, file, user, begunAt: now, at: now }
      if (!this.#open.has(job) && this.#open.size >= mostOpen) this.#open.delete([...this.#open.keys()][0] as string)
      this.#open.set(job, { begun, mapping, record })
      return answerOf(record, record.mistakes)
    })
  }

  /**
   * Resolves when the rows are stored, refused or ignored, and that is on disk. A batch that is known is not stored
   * again. Rejects with `not_found` when the import must be begun again, as after a restart.
   */
  take(batch: ImportBatch): Promise<ImportAnswer> {
    return this.#turns.run(async () => {
      const open = this.#open.get(batch.job)
      if (!open) throw new HubError('not_found', 'the hub was restarted: begin the import again, and it goes on')
      const { record, begun } = open
      if (batch.batch === record.next - 1) return answerOf(record, record.mistakes)
      if (batch.batch !== record.next)
        throw new HubError('bad_request', `batch: given ${batch.batch}, allowed is ${record.next}`)
      const content = contentOf(batch.content)
      const outcomes = await this.#store(open, content)
      const bad = Number.isSafeInteger(content.bad) ? Math.max(0, content.bad as number) : 0
      const mistakes: ImportMistake[] = []
      const counts = {
        rows: record.rows + bad,
        stored: record.stored,
        dead: record.dead + bad,
        ignored: record.ignored,
      }
      for (const [index, outcome] of outcomes.entries()) {
        counts.rows++
        if (outcome === 'ack') counts.stored++
        else if (outcome === 'ignored') counts.ignored++
        else {
          counts.dead++
          const { reason, detail } = outcome as Rejection
          if (mistakes.length < mostMistakes)
            mistakes.push({ line: content.n[index] as number, reason, detail: detail.slice(0, 500) })
        }
      }
      const { position, last } = batch
      const after = {
        ...record,
        ...counts,
        position,
        mistakes,
        next: record.next + 1,
        isFinished: last,
        at: Date.now(),
      }
      if (!begun.dry) await this.#journal.put(batch.job, after)
      open.record = after
      if (last) this.#open.delete(batch.job)
      return answerOf(after, mistakes)
    })
  }

  async #store({ begun, mapping }: OpenImport, rows: NamedRows | MappedRows): Promise<Outcome[]> {
    if ('payloads' in rows) return this.#storeMapped(begun, mapping, rows)
    return this.#storeNamed(begun, rows)
  }

  async #storeNamed({ user, dry }: ImportBegin, { series, s, t, v }: NamedRows): Promise<Outcome[]> {
    const { guard } = this.#options
    const who = { user, clientId: 'import' }
    const names = series.map(([measurement, tags, field]) => ({
      measurement,
      tags: Object.freeze(sortedTags(tags)),
      field,
    }))
    const refused = names.map(({ measurement, tags, field }) =>
      dry ? undefined : guard?.check([{ measurement, tags, fields: [[field, 0]], time: 0 }], who),
    )
    const outcomes: Outcome[] = new Array(s.length).fill('ack')
    const slices = new Slices()
    let points: Point[] = []
    let rows: number[] = []
    for (let i = 0; i < s.length; i++) {
      if (slices.isOver) await slices.turn()
      const name = names[s[i] as number]
      const refusal = name ? refused[s[i] as number] : { reason: 'bad_value' as const, detail: 'no such series' }
      if (refusal || !name) outcomes[i] = refusal as Rejection
      else {
        const { measurement, tags, field } = name
        points.push({ measurement, tags, fields: [[field, v[i] as FieldValue]], time: t[i] as number })
        rows.push(i)
      }
      if (points.length < writeRows && i < s.length - 1) continue
      await this.#write(points, dry, (index, rejection) => {
        outcomes[rows[index] as number] = rejection
      })
      points = []
      rows = []
    }
    return outcomes
  }

  async #write(points: readonly Point[], dry: boolean, refuse: (index: number, why: Rejection) => void): Promise<void> {
    if (points.length === 0 || dry) return
    const { store, dependencies } = this.#options
    const began = performance.now()
    const rejected = await dependencies.ask('store', () => store.write(points))
    for (const { index, reason, detail } of rejected) refuse(index, { reason, detail })
    await sleep((performance.now() - began) * restShare)
  }

  async #storeMapped({ user, dry }: ImportBegin, mapping: Mapping, rows: MappedRows): Promise<Outcome[]> {
    const { guard, store, dependencies } = this.#options
    const receivedAt = Date.now() * 1_000
    const past = new PastMapping(mapping, receivedAt)
    const counts = dry ? {} : { guard: guard && new GuardOfUser(guard, user) }
    const target = dry ? { write: async () => [] } : store
    const recorder = new Recorder({ mapping: past, store: target, ...counts })
    const outcomes: Outcome[] = []
    for (let at = 0; at < rows.payloads.length; at += writeRows) {
      const messages = rows.payloads.slice(at, at + writeRows).map((payload, i): Message => {
        const topic = rows.topics[rows.m[at + i] as number] ?? ''
        return {
          ...{ sequence: 0, receivedAt, topic, payload: Buffer.from(payload), qos: 0, retain: false },
          ...{ clientId: 'import', user: '', packetId: 0 },
        }
      })
      const began = performance.now()
      outcomes.push(...(await dependencies.ask('store', () => recorder.handle(messages))))
      if (!dry) await sleep((performance.now() - began) * restShare)
    }
    return outcomes
  }

  #read(): void {
    if (this.#isRead) return
    this.#journal.start()
    this.#isRead = true
  }
}

/** Reads rows of the past: their time is in them, and there is no other. */
class PastMapping {
  readonly #mapping: Mapping
  readonly #receivedAt: number

  constructor(mapping: Mapping, receivedAt: number) {
    this.#mapping = mapping
    this.#receivedAt = receivedAt
  }

  read(message: Message): Reading | Rejection {
    if (!isTopicName(message.topic)) return { reason: 'no_reading', detail: `${message.topic} is no topic` }
    const reading = this.#mapping.read(message)
    if ('reason' in reading || reading.points.length === 0) return reading
    if (reading.clockError !== undefined)
      return { reason: 'bad_value', detail: 'the time of the row is before 2000, or in the future' }
    if (reading.points.some(({ time }) => time === this.#receivedAt))
      return { reason: 'no_time', detail: 'the row has no time; the rule names its column with time' }
    return reading
  }

  thin(topic: string, points: readonly Point[]): readonly Point[] {
    return this.#mapping.thin(topic, points)
  }
}

/** Limits the series of a user who imports, whatever the rows say. */
class GuardOfUser {
  readonly #guard: SeriesGuard
  readonly #user: string

  constructor(guard: SeriesGuard, user: string) {
    this.#guard = guard
    this.#user = user
  }

  check(points: readonly Point[], { clientId }: Pick<Message, 'user' | 'clientId'>): Rejection | undefined {
    return this.#guard.check(points, { user: this.#user, clientId })
  }
}

function answerOf(record: ImportRecord, mistakes: readonly ImportMistake[]): ImportAnswer {
  const { rows, stored, dead, ignored, next, position, isFinished: finished } = record
  return { rows, stored, dead, ignored, next, position, finished, mistakes }
}

function checked(rule: Readonly<Record<string, unknown>>): MappingRule {
  const [mistake] = ownRuleMistakes(rule)
  if (!mistake) return rule as unknown as MappingRule
  throw new HubError('bad_request', `rule: ${mistake.key ? `${mistake.key}: ` : ''}${mistake.sentence}`)
}

function contentOf(text: string): NamedRows | MappedRows {
  try {
    const content = JSON.parse(text) as Partial<NamedRows & MappedRows>
    const { series, s, t, v, topics, m, payloads, n } = content
    const areLists = (...lists: unknown[]) => lists.every(list => Array.isArray(list))
    if (
      areLists(topics, m, payloads, n) &&
      m?.length === payloads?.length &&
      n?.length === m?.length &&
      payloads?.every(isText)
    )
      return content as MappedRows
    if (
      areLists(series, s, t, v, n) &&
      n?.length === s?.length &&
      s?.length === t?.length &&
      s?.length === v?.length &&
      series?.every(isSeries)
    )
      return content as NamedRows
  } catch {
    // Said below.
  }
  throw new HubError('bad_request', 'content: allowed is JSON of {series, s, t, v, n} or of {topics, m, payloads, n}')
}

const isText = (value: unknown) => typeof value === 'string'

function isSeries(value: unknown): boolean {
  if (!Array.isArray(value) || !isText(value[0]) || !Array.isArray(value[1]) || !isText(value[2])) return false
  return value[1].every(pair => Array.isArray(pair) && isText(pair[0]) && isText(pair[1]))
}

/** Returns tags as the hub keeps them: by name, names unique, no empty values. */
function sortedTags(tags: Tags): Tags {
  const unique = new Map(tags.filter(([, value]) => value !== ''))
  return [...unique].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
}
