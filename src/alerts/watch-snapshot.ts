import { type Files, nodeFiles, readWholeSync } from '../disk/files.js'
import { replaceFile } from '../disk/replace-file.js'
import { describe } from '../errors.js'
import type { SeriesId } from '../model.js'
import type { IncidentReporter } from '../observe/incidents.js'
import type { AlertJournal } from './alert-journal.js'
import type { AlertEvaluator } from './evaluator.js'
import type { AlertSubject, SavedWatch } from './watch.js'

/** One watch in the file. */
type WatchRow = readonly [rule: string, subject: AlertSubject, id: SeriesId | null, saved: SavedWatch]

interface WatchFile {
  /** Sequence number up to which the messages are in each of the watches. */
  readonly position: number
  /** Time up to which messages were taken, in microseconds. */
  readonly now: number
  readonly watches: readonly WatchRow[]
}

const saveEveryMs = 10_000
/** Characters written per second, which limits how often a large snapshot is written. */
const charactersPerSecond = 1e6
/** Watches serialized before other work of the thread gets a turn. */
const atOnce = 500

export interface WatchSnapshotOptions {
  readonly path: string
  readonly evaluator: AlertEvaluator
  /** What the watches have told must be on disk before they are. */
  readonly journal: Pick<AlertJournal, 'flushed'>
  readonly incidents: IncidentReporter
  readonly files?: Files | undefined
}

/**
 * The memory of all watches in one file: newest readings, running durations, learned rhythms. After a crash messages are
 * read again from its place on; each watch passes over those that it has taken already.
 */
export class WatchSnapshot {
  readonly #options: WatchSnapshotOptions
  #position: number | undefined
  #saving: Promise<void> = Promise.resolve()
  #isSaving = false
  #passes = 0
  #timer: NodeJS.Timeout | undefined
  /** Why the file could not be written last; empty: it was. */
  failure = ''

  constructor(options: WatchSnapshotOptions) {
    this.#options = options
  }

  /** Sequence number up to which nothing is needed again. Undefined while there is no file. */
  get position(): number | undefined {
    return this.#position
  }

  /** Restores the watches. Returns the time up to which they have messages. Undefined without a file. */
  load(): number | undefined {
    const { path, evaluator, incidents, files } = this.#options
    try {
      const text = readWholeSync(path, files)
      if (!text) return undefined
      const { position, now, watches } = JSON.parse(text.toString('utf8')) as WatchFile
      if (!Number.isSafeInteger(position) || !Number.isFinite(now) || !Array.isArray(watches))
        throw new Error('it lacks position, now or watches')
      evaluator.machine.now = now
      for (const [rule, subject, id, saved] of watches) evaluator.restore(rule, subject, saved, id ?? undefined)
      this.#position = position
      return now
    } catch (error) {
      incidents.report(
        'alert_watches_damaged',
        `${path} cannot be read (${describe(error)}): durations and rhythms of alerts begin anew; alerts that are open stay open`,
      )
      return undefined
    }
  }

  start(): void {
    const evaluatorIsIdle = () => this.#options.evaluator.isIdle
    this.#timer = setInterval(() => {
      if (this.#passes > 0) this.#passes--
      // Without rules there is nothing to lose.
      else if (!this.#isSaving && !evaluatorIsIdle()) void this.save()
    }, saveEveryMs).unref()
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer)
    await this.#saving
    await this.save()
  }

  /** Resolves when the file is written, or the disk refuses; then the next interval tries again. */
  save(): Promise<void> {
    const { evaluator, path, journal, files } = this.#options
    const { position, now } = evaluator.machine
    this.#isSaving = true
    this.#saving = this.#saving
      .then(async () => {
        const parts = [`{"position":${position},"now":${now},"watches":[`]
        let rows: string[] = []
        let isFirst = true
        for (const watch of [...evaluator.watches()]) {
          if (!watch.isCurrent) continue
          // Watches that are saved later have taken more messages, and say so.
          rows.push(
            JSON.stringify([
              watch.rule.name,
              watch.subject,
              watch.seriesId ?? null,
              watch.save(evaluator.machine.position),
            ]),
          )
          if (rows.length < atOnce) continue
          parts.push(isFirst ? '' : ',', rows.join(','))
          isFirst = false
          rows = []
          await new Promise(resolve => setImmediate(resolve))
        }
        if (rows.length > 0) parts.push(isFirst ? '' : ',', rows.join(','))
        const text = `${parts.join('')}]}`
        this.#passes = Math.floor((text.length / charactersPerSecond) * (1_000 / saveEveryMs))
        await journal.flushed()
        await replaceFile(path, text, { files: files ?? nodeFiles })
        this.#position = position
        this.failure = ''
      })
      // The disk refuses: tried again at the next interval, and messages stay in the spool until then.
      .catch((error: unknown) => {
        this.failure = describe(error)
      })
      .finally(() => {
        this.#isSaving = false
      })
    return this.#saving
  }
}
