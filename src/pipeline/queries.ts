import { join } from 'node:path'
import { mayRead, type ReadRules, readsAll } from '../access/rules.js'
import type { BalanceSheet, PipelineOffsets, SheetLine } from '../accounting/balance-sheet.js'
import { type Answer, type DeadLetterRow, encodeJson, type Json, type SeriesRow } from '../contract/contract.js'
import { HubError } from '../errors.js'
import { type BegunExport, type ExportQuery, Exports, type SeriesFacts } from '../export/exports.js'
import { answerInfluxQl, type InfluxQuestion } from '../influxql/influxql.js'
import { type DeadLetter, type Message, messageId, type Series, type SeriesId, seriesKey } from '../model.js'
import { describeMessage } from '../mqtt/message-row.js'
import type { DeadLetterFilter, DeadLetters } from '../queue/queue.js'
import { Slices } from '../runtime/slices.js'
import type { HistoryQuery, SqlAnswer, SqlQuery, TimeSeriesStore } from '../store/store.js'
import { hubTopics } from '../topics.js'
import type { Dependencies } from './dependencies.js'
import type { MessageTrial } from './explore/explore.js'
import { Finder, type FinderOptions } from './find.js'
import { Imports } from './imports/imports.js'
import type { Knowledge } from './knowledge.js'
import { tryMapping } from './map-try.js'
import type { Mapping } from './mapping.js'
import { RuleTrial } from './own-rules/rule-trial.js'
import type { TrialMappings } from './own-rules/trial-mappings.js'
import { Inbox } from './past/inbox.js'
import { Noise } from './past/noise.js'
import type { BalanceQuery, DevicesQuery, PipelineApi, SeriesAnswerQuery } from './pipeline-api.js'
import type { DeviceDescription } from './presets/preset.js'
import type { Registry } from './registry.js'
import type { Expired } from './retention/retention.js'
import type { SeriesGuard } from './series-guard.js'

export { TrialMappings } from './own-rules/trial-mappings.js'

export interface QueriesOptions {
  readonly store: TimeSeriesStore
  readonly mapping: Mapping
  readonly trials: Pick<TrialMappings, 'trial'>
  readonly registry: Registry
  readonly dead: DeadLetters
  readonly balance: BalanceSheet
  /** Read with each balance. */
  readonly offsets: PipelineOffsets & FinderOptions['progress']
  readonly dependencies: Dependencies
  /** Data directory. */
  readonly dir: string
  /** Limits the series that imports begin. */
  readonly guard?: SeriesGuard | undefined
}

/**
 * Queries of the API to the processor thread. Answers are JSON bytes, made here so that the broker thread only passes
 * them on; times in milliseconds. With `rules` an answer contains only what the rules allow to be read.
 */
export class Queries implements MessageTrial {
  readonly #options: QueriesOptions
  /** Tries mapping rules. */
  readonly rules: RuleTrial
  /** Topics that nothing knows. */
  readonly inbox: Inbox
  /** Finds the series with the most points. */
  readonly noise: Noise
  /** Finds messages. */
  readonly finder: Finder
  readonly exports: Exports
  readonly imports: Imports

  constructor(options: QueriesOptions) {
    this.#options = options
    this.rules = new RuleTrial(options)
    this.inbox = new Inbox({ ...options, rules: this.rules })
    this.noise = new Noise(options)
    this.finder = new Finder({ ...options, progress: options.offsets })
    const { store, mapping, dir } = options
    this.imports = new Imports(options)
    this.exports = new Exports({ store, facts: new SeriesDescriptions(mapping), dir: join(dir, 'exports') })
  }

  /**
   * Returns a page of the series, and with `next` where the following page begins. With `rules` a series is included if
   * the mapping makes the series, and from topics alone that may be read: then a page may be short, or empty, and not
   * be the last.
   */
  async series({ limit, after, search, rules }: SeriesAnswerQuery): Promise<Json<Answer<'GET /api/series'>>> {
    const { dependencies, store } = this.#options
    const readable: Series[] = []
    let next = after
    let looked = 0
    const slices = new Slices()
    const words = search?.toLowerCase().split(/\s+/).filter(Boolean).slice(0, maxWords)
    do {
      const query = { limit: limit - readable.length, after: next, words }
      const page = await dependencies.ask('store', () => store.series(query))
      for (const series of page.series) {
        // Other work of this thread must not wait for all of them.
        if (slices.isOver) await slices.turn()
        if (!rules || this.#isReadable(series, rules)) readable.push(series)
      }
      looked += Math.max(page.series.length, costOfPage)
      next = page.next
    } while (next !== undefined && readable.length < limit && looked < maxSeries)
    return encodeJson({ series: readable.map(series => this.#describe(series)), ...(next !== undefined && { next }) })
  }

  /**
   * Returns the history of a series. Throws `forbidden` when the series may not be read, whether the series exists or
   * not.
   */
  async history(query: HistoryQuery, rules: ReadRules | undefined): Promise<Json<Answer<'GET /api/history'>>> {
    const { dependencies, store } = this.#options
    if (rules && !this.#isReadable(query.series, rules)) {
      const key = seriesKey(query.series)
      throw new HubError(
        'forbidden',
        `${key}: the mapping makes this series from no topic, or from a topic that this user may not read`,
        { said: { code: 'series-hidden', values: {} } },
      )
    }
    const { times, values, window } = await dependencies.ask('store', () => store.history(query))
    return encodeJson({
      times: times.map(time => time / 1_000),
      values,
      ...(window !== undefined && { window: window / 1_000 }),
    })
  }

  /** Begins an export of the selected series that may be read. */
  export(query: ExportQuery, rules: ReadRules | undefined): Promise<BegunExport> {
    const readable = { may: (series: SeriesId) => !rules || this.#isReadable(series, rules) }
    return this.#options.dependencies.ask('store', () => this.exports.begin(query, readable))
  }

  /** Answers a question in SQL. */
  async sql(query: SqlQuery): Promise<Json<SqlAnswer>> {
    const { dependencies, store } = this.#options
    const { sql } = store
    if (!sql)
      throw new HubError(
        'bad_request',
        'the store of this hub is InfluxDB, which has its own language: ask it directly',
      )
    return encodeJson(await dependencies.ask('store', () => sql.ask(query)))
  }

  /** Answers a request to `/query` of InfluxDB 1.x from the series that may be read. */
  async influxql(question: InfluxQuestion, rules: ReadRules | undefined) {
    const { dependencies, store } = this.#options
    const { reader } = store
    if (!reader) {
      throw new HubError(
        'bad_request',
        'the store of this hub is InfluxDB, which answers /query by itself: use the address in influx.url',
      )
    }
    const mayRead = rules && ((series: SeriesId) => this.#isReadable(series, rules))
    const now = Date.now() * 1_000
    const { status, json } = await dependencies.ask('store', () => answerInfluxQl(question, { reader, mayRead, now }))
    return { status, json: Buffer.from(json) }
  }

  /** Returns the devices whose presence may be read. */
  /** Returns the topics for commands of a described device: see `PipelineApi.commandTopics`. */
  commandTopics(device: string): Awaited<ReturnType<PipelineApi['commandTopics']>> {
    return this.knowledge
      .devices()
      .filter(({ id, name }) => id === device || name === device)
      .flatMap(({ entities }) => entities)
      .flatMap(({ commandTopic, name, field, topic }) =>
        commandTopic === undefined ? [] : [{ topic: commandTopic, names: [name ?? field, field, topic] }],
      )
  }

  /** What devices told of themselves. */
  get knowledge(): Knowledge {
    return this.#options.mapping.knowledge
  }

  devices({ presence, rules }: DevicesQuery): Json<Answer<'GET /api/devices'>> {
    const devices = this.#options.registry
      .devices()
      .filter(({ clientId }) => presence === undefined || mayRead(presence, hubTopics.presence(clientId)))
      .map(({ clock, ...device }) => ({
        ...device,
        since: device.since / 1_000,
        lastSeen: device.lastSeen / 1_000,
        ...(clock && { clockError: clock.error / 1_000 }),
        ...(clock && (!rules || mayRead(rules, clock.topic)) && { clockTopic: clock.topic }),
      }))
    return encodeJson({ devices, described: this.#described(rules) })
  }

  /** Returns the described devices, with the values whose topics may be read. */
  #described(rules: ReadRules | undefined): readonly DeviceDescription[] {
    const devices = this.#options.mapping.knowledge.devices()
    if (rules === undefined) return devices
    return devices.flatMap(device => {
      const entities = device.entities.filter(({ topic }) => mayRead(rules, topic))
      return entities.length > 0 ? [{ ...device, entities }] : []
    })
  }

  tryMapping(topic: string, payload: Buffer): Json<Answer<'POST /api/map/try'>> {
    const receivedAt = Date.now() * 1_000
    const client = { clientId: '', user: '', packetId: 0, qos: 0, retain: false } as const
    return encodeJson(tryMapping(this.#options.trials.trial(), { sequence: 0, receivedAt, topic, payload, ...client }))
  }

  trial(): (message: Message) => Answer<'POST /api/map/try'> {
    const mapping = this.#options.trials.trial()
    return message => tryMapping(mapping, message)
  }

  async dead(filter: DeadLetterFilter, limit: number): Promise<Json<Answer<'GET /api/dead'>>> {
    const letters = await this.#options.dead.list(filter, limit)
    const fitting: DeadLetter[] = []
    let bytes = 0
    for (const letter of letters) {
      bytes += letter.message.payload.length + (letter.message.properties?.length ?? 0)
      // An answer is one text, and the length of a text is limited.
      if (fitting.length > 0 && bytes > maxAnswered) break
      fitting.push(letter)
    }
    return encodeJson({ dead: fitting.map(describeLetter) })
  }

  /** @param expired What retention has deleted */
  balance({ hours, device, limit }: BalanceQuery, expired?: Expired): Json<Answer<'GET /api/balance'>> {
    const { balance, offsets } = this.#options
    const { since, reasons, ...sheet } = balance.sheet(offsets)
    return encodeJson({
      since: since / 1_000,
      ...sheet,
      imported: this.imports.totals,
      reasons: { dead: Object.fromEntries(reasons.dead), refused: Object.fromEntries(reasons.refused) },
      ...(expired && { expired: { ...expired, from: expired.from / 1_000, to: expired.to / 1_000 } }),
      hours: balance.hours(hours).map(inMilliseconds),
      devices: balance.clients(hours, limit, device).map(inMilliseconds),
    })
  }

  /**
   * Whether a series may be read. Decided by what the mapping would make, which is certain, and not by the messages
   * seen, which are forgotten or can be forged.
   */
  #isReadable(series: SeriesId, rules: ReadRules): boolean {
    const sources = this.#options.mapping.sourcesOf(series)
    return sources.length > 0 && sources.every(source => readsAll(rules, source))
  }

  /** Returns the unit of a series; of a field beside another one, that of the other. */
  #unit(series: SeriesId): string | undefined {
    const { mapping } = this.#options
    const topic = series.tags.find(([name]) => name === 'topic')?.[1] ?? mapping.topicOf(series)
    const unit = mapping.unit(series, topic)
    if (unit !== undefined || !series.field.endsWith('_num')) return unit
    return mapping.unit({ ...series, field: series.field.replace(/_num$/, '') }, topic)
  }

  /** Whether the last message of the only topic of this series cleared a retained one: it is no current reading. */
  #isCleared(series: SeriesId): boolean {
    const { registry, mapping } = this.#options
    if (registry.cleared.size === 0) return false
    const topic = mapping.topicOf(series)
    return topic !== undefined && registry.cleared.has(topic)
  }

  #describe(series: Series): SeriesRow {
    const { measurement, tags, field, type, last } = series
    return {
      key: seriesKey(series),
      measurement,
      tags: Object.fromEntries(tags),
      field,
      type,
      unit: this.#unit(series),
      ...(this.#isCleared(series) && { cleared: true as const }),
      last: { time: last.time / 1_000, value: last.value },
    }
  }
}

/** What descriptions of devices say of series, for selections. */
class SeriesDescriptions implements SeriesFacts {
  readonly #mapping: Mapping

  constructor(mapping: Mapping) {
    this.#mapping = mapping
  }

  describe(series: SeriesId) {
    const { knowledge } = this.#mapping
    const topic = series.tags.find(([name]) => name === 'topic')?.[1] ?? this.#mapping.topicOf(series)
    if (topic === undefined) return { devices: [], deviceClass: undefined }
    return { devices: knowledge.namesOn(topic), deviceClass: knowledge.entityOf(topic, series.field)?.deviceClass }
  }
}

/** Most words of a search. */
const maxWords = 10

/** Most series examined for one answer, and the least that a page counts for. */
const maxSeries = 100_000
const costOfPage = 1_000

/** Most bytes of payloads in one answer. */
const maxAnswered = 64e6

function describeLetter({ message, reason, detail, partly, failedAt, attempts }: DeadLetter): DeadLetterRow {
  return {
    id: messageId(message),
    reason,
    detail,
    ...(partly && { partly }),
    failedAt: failedAt / 1_000,
    attempts,
    topic: message.topic,
    payload: message.payload.toString('base64'),
    ...describeMessage(message),
  }
}

function inMilliseconds<Line extends SheetLine>(line: Line): Line {
  return { ...line, hour: line.hour / 1_000 }
}
