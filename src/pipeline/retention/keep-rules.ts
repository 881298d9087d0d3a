import { type KeepTimes, ordered, showKeep, type Tier, tiers, timesOf } from '../../config/settings.js'
import type { SeriesId } from '../../model.js'
import { isTopicName } from '../../topics.js'
import type { Mapping } from '../mapping.js'
import { type CompiledRule, compileRule, placeByRule, sourcesByRule } from '../mapping-rules.js'

/** Ends of the fields beside a field, as the stores name them. */
const beside = /(?:_(?:str|num|bool))+$/
const publisherTag = 'publisher'

/** A rule, and how long the readings of that rule are kept. */
interface TimedRule {
  readonly rule: CompiledRule
  readonly times: KeepTimes | undefined
}

/**
 * How long the readings of a series are kept: as the rule says that makes the series, else as `store.keep` says. This is
 * worked out from the names of the series with the mapping of now, and not noted with each reading: so a change of a
 * rule also acts on series of which nothing arrives any more. Where several rules may have made a series, the longest
 * time counts.
 */
export class KeepRules {
  readonly #mapping: Pick<Mapping, 'rules' | 'sourcesOf'>
  readonly #usual: KeepTimes
  readonly #rules: readonly TimedRule[]
  /** Whether any rule says how long. */
  readonly hasTimes: boolean

  constructor(mapping: Pick<Mapping, 'rules' | 'sourcesOf'>, usual: KeepTimes) {
    this.#mapping = mapping
    this.#usual = usual
    this.#rules = mapping.rules.map(rule => ({ rule: compileRule(rule), times: timesOf(rule) }))
    this.hasTimes = this.#rules.some(({ times }) => times !== undefined)
  }

  /** The times of all series of which no rule says how long. */
  get usual(): string {
    return showKeep(this.#usual)
  }

  /** Returns the times of a series as a text. Undefined: as all. */
  of(series: SeriesId): string | undefined {
    if (!this.hasTimes) return undefined
    const found = new Set<KeepTimes | undefined>()
    const tags = series.tags.filter(([name]) => name !== publisherTag)
    const field = series.field.replace(beside, '') || series.field
    for (const one of [series, { ...series, tags }, { ...series, tags, field }]) {
      for (const topic of this.#mapping.sourcesOf(one)) if (isTopicName(topic)) found.add(this.#ofTopic(topic))
      for (const { rule, times } of this.#rules) {
        const sources = sourcesByRule(rule, one.measurement, tags, one.field)
        if (sources.some(source => !isTopicName(source))) found.add(times)
      }
    }
    const said = [...found].filter(times => times !== undefined)
    if (said.length === 0) return undefined
    const all = found.has(undefined) ? [...said, {}] : said
    const longest: Partial<Record<Tier, number>> = {}
    for (const tier of tiers) {
      const ms = Math.max(...all.map(times => times[tier] ?? this.#usual[tier] ?? Number.POSITIVE_INFINITY))
      if (ms < Number.POSITIVE_INFINITY || this.#usual[tier] !== undefined) longest[tier] = ms
    }
    return showKeep(ordered(longest))
  }

  #ofTopic(topic: string): KeepTimes | undefined {
    return this.#rules.find(({ rule }) => placeByRule(rule, topic) !== undefined)?.times
  }
}
