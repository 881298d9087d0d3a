import { join } from 'node:path'
import { setAside } from '../../disk/damaged.js'
import { readWholeSync } from '../../disk/files.js'
import { StateFile } from '../../disk/state-file.js'
import { describe } from '../../errors.js'
import type { IncidentReporter } from '../../observe/incidents.js'
import type { SeenTopic, TopicBook } from './topic-book.js'

/** The file, which may contain anything. */
interface SavedRhythms {
  /** Time of the write, in microseconds: until then this hub listened. */
  readonly at?: unknown
  readonly topics?: Readonly<Record<string, unknown>>
}

export interface RhythmsOptions {
  /** Data directory. */
  readonly dir: string
  readonly topics: Pick<TopicBook, 'all'>
  readonly incidents: IncidentReporter
}

const saveEveryMs = 60_000

/** Most topics whose rhythm is kept; that of others is learned anew after a start. Some 60 bytes each. */
const maxTopics = 20_000

/**
 * The learned rhythms of topics, kept over a restart in `rhythms.json`, and for how long the hub has listened: a device
 * that was silent before the hub stopped is silent after the start, and the time in between counts for nobody.
 */
export class Rhythms {
  readonly #options: RhythmsOptions
  readonly #path: string
  readonly #file: StateFile
  /** When this process began to listen, and until when the one before did, in microseconds. */
  readonly #since = Date.now() * 1_000
  #until = 0
  /** Rhythms of topics that are not known yet. */
  #saved = new Map<string, unknown>()

  constructor(options: RhythmsOptions) {
    this.#options = options
    this.#path = join(options.dir, 'rhythms.json')
    this.#file = new StateFile(this.#path, () => this.#text())
  }

  /** Reads the file. One that cannot be used is set aside, and all rhythms are learned anew. */
  start(): void {
    try {
      const bytes = readWholeSync(this.#path)
      if (bytes !== undefined) this.#take(JSON.parse(bytes.toString('utf8')) as SavedRhythms)
    } catch (error) {
      const text = `${this.#path} cannot be read (${describe(error)}); rhythms are learned anew; ${setAside(this.#path)}`
      this.#options.incidents.report('rhythms_damaged', text)
    }
    // The time until which the hub listened changes always.
    this.#file.changed()
    this.#file.saveEvery(saveEveryMs)
  }

  stop(): Promise<void> {
    this.#file.changed()
    return this.#file.stop()
  }

  /** Gives a topic that is known from before the start the rhythm from then. */
  restore(seen: SeenTopic): void {
    const saved = this.#saved.get(seen.topic)
    this.#saved.delete(seen.topic)
    if (saved !== undefined && seen.rhythm.usual === undefined) seen.rhythm.restore(saved)
  }

  /** All topics from before the start are known: what is left is of topics that are gone. */
  restored(): void {
    this.#saved.clear()
  }

  /** Returns for how long the hub has listened in vain since a message, in microseconds. */
  silence(lastSeen: number, now: number): number {
    if (lastSeen >= this.#since) return now - lastSeen
    return now - this.#since + Math.max(0, this.#until - lastSeen)
  }

  #take({ at, topics }: SavedRhythms): void {
    if (typeof at === 'number' && Number.isFinite(at)) this.#until = Math.min(at, this.#since)
    if (typeof topics !== 'object' || topics === null) return
    this.#saved = new Map(Object.entries(topics).slice(0, maxTopics))
  }

  #text(): string {
    const topics = new Map<string, unknown>()
    for (const { topic, rhythm } of this.#options.topics.all()) {
      if (topics.size >= maxTopics) break
      if (rhythm.usual !== undefined) topics.set(topic, rhythm.save().map(Math.round))
    }
    for (const [topic, saved] of this.#saved) if (topics.size < maxTopics) topics.set(topic, saved)
    // The write comes now: what is saved is no older.
    this.#file.changed()
    return `${JSON.stringify({ at: Date.now() * 1_000, topics: Object.fromEntries(topics) })}\n`
  }
}
