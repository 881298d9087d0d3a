import { type Files, nodeFiles, readWholeSync } from '../disk/files.js'
import { replaceInPieces } from '../disk/replace-file.js'
import { TextPieces } from '../disk/text-pieces.js'
import { describe } from '../errors.js'
import type { SeriesId } from '../model.js'
import type { IncidentReporter } from '../observe/incidents.js'
import type { AlertJournal } from './alert-journal.js'
import type { AlertEvaluator } from './evaluator.js'
import type { AlertSubject, SavedWatch, Watch } from './watch.js'

/*
 * The file is JSON, a line each:
 *
 *     {"position": sequence, "now": microseconds}                  first line
 *     [rule, subject, series or null, state of the watch]          one line for each watch
 */

type WatchRow = readonly [rule: string, subject: AlertSubject, id: SeriesId | null, saved: SavedWatch]

interface WatchFile {
  /** Sequence number up to which the messages are in each of the watches. */
  readonly position: number
  /** Time up to which messages were taken, in microseconds. */
  readonly now: number
  /** The lines, as they were written before. */
  readonly watches?: readonly WatchRow[]
}

const saveEveryMs = 10_000
/** Characters written per second, which limits how often a large snapshot is written. */
const charactersPerSecond = 1e6
/** Milliseconds of work before other work of the thread gets a turn. */
const sliceMs = 2

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
      const bytes = readWholeSync(path, files)
      if (!bytes) return undefined
      const [first, ...lines] = linesOf(bytes)
      const { position, now, watches = [] } = JSON.parse(first ?? '') as WatchFile
      if (!Number.isSafeInteger(position) || !Number.isFinite(now)) throw new Error('it lacks position or now')
      const rows = [...watches, ...lines.map(line => JSON.parse(line) as WatchRow)]
      evaluator.machine.now = now
      for (const [rule, subject, id, saved] of rows) evaluator.restore(rule, subject, saved, id ?? undefined)
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
    const { evaluator, path, files } = this.#options
    const { position, now } = evaluator.machine
    this.#isSaving = true
    this.#saving = this.#saving
      .then(async () => {
        const pieces = new TextPieces(this.#lines({ position, now }), sliceMs)
        await replaceInPieces(path, this.#behindJournal(pieces), { files: files ?? nodeFiles })
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

  /** Yields the lines of the file. */
  *#lines(head: WatchFile): Generator<string> {
    const { evaluator } = this.#options
    yield JSON.stringify(head)
    for (const watch of evaluator.watches()) if (watch.isCurrent) yield `\n${rowOf(watch, evaluator.machine.position)}`
  }

  /** Yields the pieces, and ends when what the watches have told is on disk. */
  async *#behindJournal(pieces: TextPieces): AsyncGenerator<string> {
    yield* pieces
    this.#passes = Math.floor((pieces.length / charactersPerSecond) * (1_000 / saveEveryMs))
    await this.#options.journal.flushed()
  }
}

/** Returns the line of a watch. Watches that are saved later have taken more messages, and say so. */
function rowOf(watch: Watch, position: number): string {
  return `[${watch.savedNames},${JSON.stringify(watch.save(position) satisfies WatchRow[3])}]`
}

function* linesOf(bytes: Buffer): Generator<string> {
  for (let from = 0; from < bytes.length; ) {
    const end = bytes.indexOf(10, from)
    const to = end < 0 ? bytes.length : end
    yield bytes.toString('utf8', from, to)
    from = to + 1
  }
}
