import type { Files } from '../disk/files.js'
import { SnapshotLog } from '../disk/snapshot-log.js'
import { HubError } from '../errors.js'
import type { IncidentReporter } from '../observe/incidents.js'
import type { Part } from '../runtime/lifecycle.js'
import type { DecidingPoint } from './condition.js'
import type { AlertState, AlertTransition, TransitionListener, TransitionLog } from './transition.js'

/** A silence that somebody has ordered: alerts that it matches are recorded as muted. Times in microseconds. */
export interface Mute {
  readonly id: string
  /** Undefined parts match all. At least one is given. */
  readonly rule?: string | undefined
  readonly series?: string | undefined
  readonly device?: string | undefined
  readonly by: string
  readonly note?: string | undefined
  readonly since: number
  /** Undefined: until it is taken back. */
  readonly until?: number | undefined
}

/** Everything that is kept of one alert. */
export interface AlertRecord {
  readonly transitions: AlertTransition[]
  /** Readings that decided. */
  points: readonly DecidingPoint[]
  /** The rule as it was, in JSON. */
  ruleText: string
  /** Sequence number of the message that decided last. */
  position: number
  /** State with all that was decided, whether it is on disk yet or not. */
  decided: AlertState
  /** Label and names of the subject, to go on after a start. */
  readonly subject: unknown
}

/** A transition without its number, and what belongs to it. */
export interface TransitionDraft extends Omit<AlertTransition, 'sequence'> {
  readonly points?: readonly DecidingPoint[]
  readonly ruleText?: string
  readonly position?: number
  readonly subject?: unknown
}

type JournalEntry =
  | ({ readonly kind: 'transition' } & AlertTransition & Omit<TransitionDraft, keyof AlertTransition>)
  | { readonly kind: 'mute'; readonly mute: Mute }
  | { readonly kind: 'unmute'; readonly id: string }
  /** First frame of a snapshot: the number of the last transition that is no longer kept. */
  | { readonly kind: 'cut'; readonly sequence: number }

export interface AlertJournalOptions {
  readonly dir: string
  readonly incidents: IncidentReporter
  readonly listeners: readonly TransitionListener[]
  /** Most transitions that are kept, and most characters of them. */
  readonly maxKept?: number
  readonly maxCharacters?: number
  readonly files?: Files
}

/** Entries of one frame: all of them are on disk, or none. */
const maxFrame = 500
const againMs = 1_000
const maxMutes = 1_000

/**
 * The alerts on disk. Decisions are appended in groups, one frame each, and told once they are synced. A group that the
 * disk refuses is tried again, and those behind it wait, so that the order is that of the decisions, without gaps.
 *
 *     alerts/0000000001.log    frames of disk/commit-log.ts, each with a JSON array of entries
 */
export class AlertJournal implements Part, TransitionLog {
  readonly name = 'alert journal'
  readonly #options: AlertJournalOptions
  readonly #log: SnapshotLog
  readonly #alerts = new Map<string, AlertRecord>()
  readonly #mutes = new Map<string, Mute>()
  /** Transitions on disk that are kept, the oldest first. */
  #kept: AlertTransition[] = []
  #keptCharacters = 0
  #sequence = 0
  #cut = 0
  #waiting: JournalEntry[] = []
  #writing: Promise<void> | undefined
  #again: (() => void) | undefined
  /** The write that is under way. */
  #attempt: Promise<void> = Promise.resolve()
  #stopped = false
  #isLoading = true
  /** Transitions that are no longer kept, since the start. */
  forgotten = 0
  failure: string | undefined

  constructor(options: AlertJournalOptions) {
    this.#options = options
    this.#log = new SnapshotLog({
      dir: options.dir,
      fsync: 'group',
      rotateBytes: 8e6,
      // One group is written at a time, and what is on disk is entered after that: nothing in the snapshot changes meanwhile
      // but mutes, which the frames behind the snapshot say again.
      inTurns: true,
      snapshot: () => this.#snapshot(),
      damaged: (sentence, bytes) => options.incidents.report('alerts_damaged', sentence, { bytes }),
      ...(options.files && { files: options.files }),
    })
  }

  async start(): Promise<void> {
    const found = await this.#log.load(body => {
      let entries: unknown
      try {
        entries = JSON.parse(body.toString('utf8'))
      } catch {
        return
      }
      for (const entry of Array.isArray(entries) ? (entries as JournalEntry[]) : []) this.#enter(entry)
    })
    if (!found) this.#log.begin()
    this.#isLoading = false
  }

  async stop(): Promise<void> {
    this.#stopped = true
    this.#again?.()
    await this.#writing
    await this.#log.close()
  }

  /** Number of the last transition that was decided. */
  get sequence(): number {
    return this.#sequence
  }

  /** Entries that are not on disk yet. */
  get pending(): number {
    return this.#waiting.length
  }

  /** Number of the oldest transition that is kept. */
  get oldest(): number {
    return this.#cut + 1
  }

  get mutes(): readonly Mute[] {
    return [...this.#mutes.values()]
  }

  /** Alerts of which something is kept, the oldest first. */
  get alerts(): ReadonlyMap<string, AlertRecord> {
    return this.#alerts
  }

  /** Returns those that are pending, firing or acknowledged. */
  open(): AlertRecord[] {
    return [...this.#alerts.values()].filter(({ decided }) => decided !== 'cleared')
  }

  /** Appends a transition, and returns it with its number. It is told once it is on disk. */
  append({ points, ruleText, position, subject, ...transition }: TransitionDraft): AlertTransition {
    const numbered = { ...transition, sequence: ++this.#sequence }
    const more = {
      ...(points && { points }),
      ...(ruleText !== undefined && { ruleText }),
      ...(position !== undefined && { position }),
      ...(subject !== undefined && { subject }),
    }
    const record = this.#recordOf(transition.alert, subject)
    record.decided = transition.state
    this.#write({ kind: 'transition', ...numbered, ...more })
    return numbered
  }

  /**
   * Resolves when everything appended so far is on disk. Rejects with `spool_failed` when the disk refuses; what waits is
   * tried again nevertheless.
   */
  async flushed(): Promise<void> {
    while (this.#waiting.length > 0) {
      if (this.failure !== undefined || this.#stopped) {
        throw new HubError('spool_failed', `the disk refuses alerts: ${this.failure ?? 'the hub stops'}`)
      }
      await this.#attempt
    }
  }

  /** Resolves when the mute is on disk. Rejects with `too_many`. */
  async mute(mute: Mute): Promise<void> {
    if (this.#mutes.size >= maxMutes)
      throw new HubError('too_many', `there are ${maxMutes} mutes; take some back first`)
    this.#mutes.set(mute.id, mute)
    this.#write({ kind: 'mute', mute })
    await this.flushed()
  }

  /** Resolves when the mute is taken back. Rejects with `not_found`. */
  async unmute(id: string): Promise<Mute> {
    const mute = this.#mutes.get(id)
    if (!mute)
      throw new HubError('not_found', `there is no mute ${JSON.stringify(id)}`, {
        said: { code: 'no-mute', values: {} },
      })
    this.#mutes.delete(id)
    this.#write({ kind: 'unmute', id })
    await this.flushed()
    return mute
  }

  /** Whether a mute matches at a time. Those that are over are taken out. */
  isMuted(rule: string, series: string, device: string | undefined, now: number): boolean {
    let isMuted = false
    for (const mute of [...this.#mutes.values()]) {
      if (mute.until !== undefined && mute.until <= now) {
        this.#mutes.delete(mute.id)
        this.#write({ kind: 'unmute', id: mute.id })
      } else if (
        (mute.rule === undefined || mute.rule === rule) &&
        (mute.series === undefined || mute.series === series) &&
        (mute.device === undefined || mute.device === device)
      )
        isMuted = true
    }
    return isMuted
  }

  async after(sequence: number, limit: number): Promise<{ transitions: AlertTransition[]; oldest: number }> {
    // The numbers have no gaps, so the place is known.
    const from = Math.max(0, sequence - this.#cut)
    return { transitions: this.#kept.slice(from, from + Math.max(0, limit)), oldest: this.oldest }
  }

  #recordOf(alert: string, subject: unknown): AlertRecord {
    let record = this.#alerts.get(alert)
    if (!record) {
      record = { transitions: [], points: [], ruleText: '', position: 0, decided: 'cleared', subject }
      this.#alerts.set(alert, record)
    }
    return record
  }

  #write(entry: JournalEntry): void {
    this.#waiting.push(entry)
    this.#writing ??= this.#writeAll().finally(() => {
      this.#writing = undefined
    })
  }

  async #writeAll(): Promise<void> {
    // All that is decided in one turn becomes one frame.
    await Promise.resolve()
    while (this.#waiting.length > 0) {
      const group = this.#waiting.slice(0, maxFrame)
      const attempt = new Promise<Error | undefined>(resolve =>
        this.#log.append(Buffer.from(JSON.stringify(group)), resolve),
      )
      this.#attempt = attempt.then(() => {})
      const error = await attempt
      if (error) {
        this.failure = error.message
        if (this.#stopped) return
        await this.#pause()
        continue
      }
      this.failure = undefined
      this.#waiting.splice(0, group.length)
      for (const entry of group) {
        const transition = this.#enter(entry)
        if (transition) for (const listener of this.#options.listeners) listener.changed(transition)
      }
    }
  }

  #pause(): Promise<void> {
    return new Promise(resolve => {
      const timer = setTimeout(resolve, againMs)
      this.#again = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }

  /** Takes an entry that is on disk. Returns its transition, if there is one. */
  #enter(entry: JournalEntry): AlertTransition | undefined {
    switch (entry.kind) {
      case 'cut':
        this.#cut = entry.sequence
        this.#sequence = Math.max(this.#sequence, entry.sequence)
        return undefined
      case 'mute':
        this.#mutes.set(entry.mute.id, entry.mute)
        return undefined
      case 'unmute':
        this.#mutes.delete(entry.id)
        return undefined
      case 'transition':
        return this.#enterTransition(entry)
      default:
        // Of a newer version.
        return undefined
    }
  }

  #enterTransition(entry: Extract<JournalEntry, { kind: 'transition' }>): AlertTransition | undefined {
    const { kind: _, points, ruleText, position, subject, ...transition } = entry
    // An open alert whose transitions were cut is in the snapshot once more.
    const isKept = transition.sequence > this.#cut
    if (isKept && this.#kept.length > 0 && transition.sequence <= (this.#kept.at(-1)?.sequence ?? 0)) return undefined
    this.#sequence = Math.max(this.#sequence, transition.sequence)
    const record = this.#recordOf(transition.alert, subject)
    record.transitions.push(transition)
    if (this.#isLoading) record.decided = transition.state
    if (points && points.length > 0) record.points = points
    if (ruleText !== undefined) record.ruleText = ruleText
    if (position !== undefined) record.position = position
    if (isKept) {
      this.#kept.push(transition)
      this.#keptCharacters += charactersOf(transition)
      this.#limit()
    }
    return transition
  }

  /** Forgets the oldest transitions beyond the limits, and alerts of which nothing is left. */
  #limit(): void {
    const { maxKept = 20_000, maxCharacters = 16e6 } = this.#options
    if (this.#kept.length <= maxKept && this.#keptCharacters <= maxCharacters) return
    // Many at once, as taking one from the front moves all others.
    for (const transition of this.#kept.splice(0, Math.ceil(this.#kept.length / 10))) {
      this.#cut = transition.sequence
      this.#keptCharacters -= charactersOf(transition)
      const record = this.#alerts.get(transition.alert)
      if (record?.decided === 'cleared' && latest(record)?.sequence === transition.sequence) {
        this.#alerts.delete(transition.alert)
      }
      this.forgotten++
    }
  }

  *#snapshot(): Iterable<Buffer> {
    const frame = (entries: readonly JournalEntry[]) => Buffer.from(JSON.stringify(entries))
    yield frame([{ kind: 'cut', sequence: this.#cut }])
    for (const mute of this.#mutes.values()) yield frame([{ kind: 'mute', mute }])
    const all: JournalEntry[] = []
    for (const record of this.#alerts.values()) {
      for (const [i, transition] of record.transitions.entries()) {
        const isFirst = i === 0
        const { points, ruleText, position, subject } = record
        const more = isFirst ? { points, ruleText, position, ...(subject !== undefined && { subject }) } : {}
        all.push({ kind: 'transition', ...transition, ...more })
      }
    }
    all.sort((a, b) => (a.kind === 'transition' && b.kind === 'transition' ? a.sequence - b.sequence : 0))
    for (let i = 0; i < all.length; i += maxFrame) yield frame(all.slice(i, i + maxFrame))
  }
}

function latest(record: AlertRecord): AlertTransition | undefined {
  return record.transitions.at(-1)
}

function charactersOf({ sentence, series, rule }: AlertTransition): number {
  return sentence.length + series.length + rule.length + 300
}
