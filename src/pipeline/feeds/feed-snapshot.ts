import { setTimeout as sleep } from 'node:timers/promises'
import { mayRead, overlap, readsAll } from '../../access/rules.js'
import { describe, HubError } from '../../errors.js'
import { type FieldValue, fieldType, type Message, parseSeriesKey, type SeriesId, seriesKey } from '../../model.js'
import type { SerialQueue } from '../../runtime/serial-queue.js'
import { Slices } from '../../runtime/slices.js'
import type { MicrosecondClock } from '../../runtime/time.js'
import type { TimeSeriesStore } from '../../store/store.js'
import { hubTopics, matches } from '../../topics.js'
import type { Dependencies } from '../dependencies.js'
import type { Mapping } from '../mapping.js'
import type { NumberedMessages, SettledSource } from '../refill.js'
import type { Registry } from '../registry.js'
import type { FeedChunk, FeedItem, FeedQuery } from './feed.js'
import type { HistoryCache, HistoryRead } from './history-cache.js'
import { clearedItem, type LiveItems } from './live-item.js'

export interface SnapshotParts {
  readonly mapping: Pick<Mapping, 'sourcesOf' | 'topicOf' | 'unit'>
  readonly items: Pick<LiveItems, 'of'>
  readonly registry: Pick<Registry, 'last' | 'cleared'>
  readonly store: Pick<TimeSeriesStore, 'series'>
  readonly histories: HistoryCache
  readonly dependencies: Pick<Dependencies, 'ask'>
  readonly spool: NumberedMessages
  readonly settled: SettledSource
  readonly clock: MicrosecondClock
  /** Work of all feeds that begin, one piece after the other, so that many of them leave time for everything else. */
  readonly turns: SerialQueue
  /** Returns the sequence number of the last message that was delivered to all feeds. */
  readonly position: () => number
}

/** Most characters of the items of a chunk; one item alone may be longer. */
const chunkCharacters = 256_000
/** Most values of one series in an item. */
const itemValues = 2_000
/** Most series with history in one feed. */
const maxSeries = 10_000
const pageOfSeries = 1_000
const sliceMs = 10
/** Longest wait for consumers that are behind the store, or a store that is behind the spool, and the time between looks. */
const maxWaitMs = 10_000
const waitMs = 20

/**
 * The first part of one feed: the newest values, then history, then every reading that is in none of these.
 *
 * A history tells up to which sequence number the store held everything when it was read. The messages behind are read
 * from the spool, up to where the deliveries to all feeds have come: so the join has no gap and no duplicate, however
 * far the store is behind. A store that does not tell is taken at what was settled before the question. Such a store may
 * have had more, so that a reading can be in its history and follow once more, with the same time.
 */
export class FeedSnapshot {
  readonly #parts: SnapshotParts
  readonly #query: FeedQuery
  readonly #signal: AbortSignal
  readonly #slices: Slices
  /** For each series with history, the sequence number up to which its history has everything. */
  readonly #covered = new Map<string, number>()
  /** Sequence number up to which the receiver knows which topics have values, and which have none. */
  #known = 0
  #items: FeedItem[] = []
  #length = 0
  #series = 0
  #truncated = false

  constructor(parts: SnapshotParts, query: FeedQuery, signal: AbortSignal) {
    this.#parts = parts
    this.#query = query
    this.#signal = signal
    this.#slices = new Slices(sliceMs, () => signal.throwIfAborted())
  }

  /** Yields the chunks; the last one has the end. Rejects when the signal aborts. */
  async *chunks(): AsyncGenerator<FeedChunk, undefined> {
    const { position } = this.#parts
    let next = yield* this.#beginning()
    for (;;) {
      this.#signal.throwIfAborted()
      const last = position()
      if (next > last) {
        // Nothing may be awaited since `position` was asked: what is delivered from now on is behind the end.
        this.#addCleared()
        yield { items: this.#taken(), end: { sequence: last, series: this.#series, truncated: this.#truncated } }
        return undefined
      }
      yield* this.#fromSpool(next, last)
      next = last + 1
    }
  }

  /** Yields newest values and history. Returns the sequence number from which readings are still to be delivered. */
  async *#beginning(): AsyncGenerator<FeedChunk, number> {
    const { after, span } = this.#query
    const { position, spool, settled } = this.#parts
    if (after !== undefined) {
      this.#known = after
      // After a crash the deliveries to feeds begin again before the last one.
      await this.#until(() => position() >= after)
      if (after > position()) this.#addGap({ reason: 'unknown', message: `there is no message ${after} yet` })
      else if (after + 1 >= spool.oldest) return after + 1
      else this.#addGap({ from: after + 1, to: spool.oldest - 1, reason: 'too_old' })
    }
    const begin = position()
    this.#known = begin
    yield* this.#newestValues()
    if (span === 0) return begin + 1
    const before = settled.settled
    yield* this.#histories(before)
    // A series that the store began after it was asked for all series has no history here.
    let first = Math.min(before, begin)
    let last = begin
    for (const sequence of this.#covered.values()) {
      first = Math.min(first, sequence)
      last = Math.max(last, sequence)
    }
    await this.#until(() => position() >= last)
    // Messages that wait in RabbitMQ may be gone from the spool, and not in the store yet.
    if (first + 1 < spool.oldest) this.#addGap({ from: first + 1, to: spool.oldest - 1, reason: 'not_stored_yet' })
    return Math.max(first + 1, spool.oldest)
  }

  async *#newestValues(): AsyncGenerator<FeedChunk> {
    for (const [topic, json] of this.#parts.registry.last()) {
      if (this.#slices.isOver) await this.#slices.turn()
      if (!this.#isWanted(topic)) continue
      yield* this.#add({ kind: 'values', topic, sequence: 0, json })
    }
  }

  async *#histories(settled: number): AsyncGenerator<FeedChunk> {
    const { histories, clock } = this.#parts
    const { span, points } = this.#query
    const to = clock.now()
    try {
      for await (const series of this.#matchingSeries()) {
        this.#signal.throwIfAborted()
        const key = seriesKey(series)
        const columns = await this.#ask(() => histories.read(series, { span, points, to, settled }))
        this.#covered.set(key, columns.sequence)
        if (columns.times.length === 0) continue
        this.#series++
        for (const item of this.#historyItems(series, key, columns)) yield* this.#add(item)
      }
    } catch (error) {
      if (this.#signal.aborted || !(error instanceof HubError)) throw error
      this.#addGap({ reason: error.code, message: describe(error) })
    }
  }

  async *#matchingSeries(): AsyncGenerator<SeriesId> {
    const { store } = this.#parts
    if (this.#query.series) {
      const named = this.#query.series.flatMap(key => parseSeriesKey(key) ?? [])
      yield* named.filter(series => this.#isSelected(series))
      return
    }
    let after: string | undefined
    let asked = 0
    do {
      const from = after
      const page = await this.#ask(() => store.series({ after: from, limit: pageOfSeries }))
      for (const series of page.series) {
        if (this.#slices.isOver) await this.#slices.turn()
        if (!this.#isSelected(series)) continue
        if (++asked > maxSeries) {
          this.#truncated = true
          return
        }
        yield series
      }
      after = page.next
    } while (after !== undefined)
  }

  /** Whether a feed's filters match all topics that a series comes from, and all may be read. */
  #isSelected(series: SeriesId): boolean {
    const { filters, rules } = this.#query
    const sources = this.#parts.mapping.sourcesOf(series)
    return (
      sources.length > 0 &&
      sources.every(source => filters.some(filter => overlap(filter, source))) &&
      (rules === undefined || sources.every(source => readsAll(rules, source)))
    )
  }

  *#historyItems(series: SeriesId, key: string, { times, values, from, to }: HistoryRead): Generator<FeedItem> {
    const { mapping } = this.#parts
    const topic = mapping.topicOf(series)
    const { measurement, tags, field } = series
    const type = fieldType(values[0] as FieldValue)
    const unit = mapping.unit(series, topic)
    const parts = Math.max(1, Math.ceil(times.length / itemValues))
    for (let part = 0; part < parts; part++) {
      const of = <T>(column: readonly T[]) => column.slice(part * itemValues, (part + 1) * itemValues)
      const json = JSON.stringify({
        ...{ series: key, topic, measurement, tags: Object.fromEntries(tags), field, type, unit },
        ...{ from: from / 1_000, to: to / 1_000 },
        ...(parts > 1 && { part: part + 1, parts }),
        times: of(times).map(time => time / 1_000),
        values: of(values),
      })
      yield { kind: 'history', topic: topic ?? '', sequence: 0, json }
    }
  }

  /** Yields the readings of messages that no history covers. */
  async *#fromSpool(from: number, to: number): AsyncGenerator<FeedChunk> {
    const { spool, turns } = this.#parts
    const batches = spool.numbered({ from, to }, this.#signal)[Symbol.asyncIterator]()
    try {
      for (;;) {
        const items = await turns.run(async () => {
          const batch = await batches.next()
          return batch.done ? undefined : this.#liveItems(batch.value)
        })
        if (!items) return
        for (const item of items) yield* this.#add(item)
      }
    } catch (error) {
      if (!(error instanceof HubError) || error.code !== 'not_found') throw error
      this.#addGap({ from, to, reason: 'too_old' })
    } finally {
      await batches.return?.()
    }
  }

  async #liveItems(messages: readonly Message[]): Promise<readonly FeedItem[]> {
    const items: FeedItem[] = []
    for (const message of messages) {
      if (this.#slices.isOver) await this.#slices.turn()
      const { sequence } = message
      const item = this.#parts.items.of(message, {
        isTopicWanted: topic => this.#isWanted(topic),
        isWanted: series => (this.#covered.get(series) ?? 0) < sequence,
        // No history has it, but the newest values do.
        isAbsenceWanted: sequence > this.#known,
      })
      if (item) items.push(item)
    }
    return items
  }

  #ask<T>(question: () => Promise<T>): Promise<T> {
    const { turns, dependencies } = this.#parts
    return turns.run(() => dependencies.ask('store', question))
  }

  /** Adds the topics that were cleared without a message, as by the removal of a device, and have no reading since. */
  #addCleared(): void {
    for (const [topic, from] of this.#parts.registry.cleared) {
      // Messages below `from` are from before.
      if (from <= this.#known + 1 || !this.#isWanted(topic)) continue
      this.#items.push(clearedItem(topic, from - 1, this.#parts.clock.now()))
    }
  }

  #isWanted(topic: string): boolean {
    const { rules } = this.#query
    return this.#isFollowed(topic) && (rules === undefined || mayRead(rules, hubTopics.last(topic)))
  }

  #isFollowed(topic: string): boolean {
    return this.#query.filters.some(filter => matches(filter, topic))
  }

  *#add(item: FeedItem): Generator<FeedChunk> {
    if (this.#items.length > 0 && this.#length + item.json.length > chunkCharacters) yield { items: this.#taken() }
    this.#items.push(item)
    this.#length += item.json.length
  }

  #addGap(gap: { readonly reason: string; readonly from?: number; readonly to?: number; readonly message?: string }) {
    this.#items.push({ kind: 'gap', topic: '', sequence: 0, json: JSON.stringify(gap) })
  }

  #taken(): FeedItem[] {
    const items = this.#items
    this.#items = []
    this.#length = 0
    return items
  }

  /** Resolves when a condition holds, or after a while. */
  async #until(holds: () => boolean): Promise<void> {
    const end = performance.now() + maxWaitMs
    while (!holds() && performance.now() < end) await sleep(waitMs, undefined, { signal: this.#signal })
  }
}
