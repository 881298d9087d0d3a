import type { SeriesId } from '../model.js'
import { type AlertRule, isSelected, type NamePatterns } from './rule.js'

/** A series, and what is known of its device. */
export interface SelectableSeries {
  readonly id: SeriesId
  /** The names of the device: as described, its id, and the client that publishes. */
  readonly devices: readonly string[]
  readonly deviceClass: string | undefined
  /** Area and icon of the device on Home. Missing: not known, or none. */
  readonly area?: string | undefined
  readonly icon?: string | undefined
}

/** Rules by the names that a series must have: by a tag, the device or the field, whichever they name exactly. */
class Bucket {
  readonly #byTag = new Map<string, AlertRule[]>()
  readonly #byDevice = new Map<string, AlertRule[]>()
  readonly #byField = new Map<string, AlertRule[]>()
  readonly #others: AlertRule[] = []

  add(rule: AlertRule): void {
    const { tags, device, field } = rule.select
    const tag = tags.find(([, patterns]) => exactOf(patterns))
    if (tag) addAll(this.#byTag, exactOf(tag[1])?.map(value => `${tag[0]}\0${value}`) ?? [], rule)
    else if (exactOf(device)) addAll(this.#byDevice, exactOf(device) ?? [], rule)
    else if (exactOf(field)) addAll(this.#byField, exactOf(field) ?? [], rule)
    else this.#others.push(rule)
  }

  *candidates({ id, devices }: SelectableSeries): Iterable<AlertRule> {
    yield* this.#others
    yield* this.#byField.get(id.field) ?? []
    for (const [name, value] of id.tags) yield* this.#byTag.get(`${name}\0${value}`) ?? []
    for (const name of devices) yield* this.#byDevice.get(name) ?? []
  }
}

/** Finds the rules that select a series without a look at all of them. */
export class RuleIndex {
  readonly #byMeasurement = new Map<string, Bucket>()
  readonly #anywhere = new Bucket()
  #isAnywhere = false

  constructor(rules: Iterable<AlertRule>) {
    for (const rule of rules) {
      const measurements = exactOf(rule.select.measurement)
      if (!measurements) {
        this.#anywhere.add(rule)
        this.#isAnywhere = true
      }
      for (const measurement of measurements ?? []) {
        let bucket = this.#byMeasurement.get(measurement)
        if (!bucket) {
          bucket = new Bucket()
          this.#byMeasurement.set(measurement, bucket)
        }
        bucket.add(rule)
      }
    }
  }

  /** Whether a rule may select a series of the measurement; of any, if undefined. */
  concerns(measurement: string | undefined): boolean {
    if (this.#isAnywhere) return true
    return measurement === undefined ? this.#byMeasurement.size > 0 : this.#byMeasurement.has(measurement)
  }

  /** Returns the rules that select a series, each once. */
  rulesFor(series: SelectableSeries): AlertRule[] {
    const found = new Set<AlertRule>()
    for (const bucket of [this.#byMeasurement.get(series.id.measurement), this.#anywhere])
      for (const rule of bucket?.candidates(series) ?? []) if (isSeriesSelected(rule, series)) found.add(rule)
    return [...found]
  }
}

/** Whether a rule selects a series. */
export function isSeriesSelected(
  { select }: AlertRule,
  { id, devices, deviceClass, area, icon }: SelectableSeries,
): boolean {
  return (
    isSelected(select.measurement, id.measurement) &&
    isSelected(select.field, id.field) &&
    isSelected(select.deviceClass, deviceClass) &&
    isSelected(select.area, area?.toLowerCase()) &&
    isSelected(select.icon, icon) &&
    (!select.device || devices.some(name => isSelected(select.device, name))) &&
    select.tags.every(([name, patterns]) => isSelected(patterns, id.tags.find(([tag]) => tag === name)?.[1]))
  )
}

/** Returns the texts of patterns that are all exact. Undefined when one is not. */
function exactOf(patterns: NamePatterns): string[] | undefined {
  const texts = patterns?.flatMap(({ exact }) => exact ?? [])
  return texts && texts.length === patterns?.length ? [...new Set(texts)] : undefined
}

function addAll(map: Map<string, AlertRule[]>, keys: readonly string[], rule: AlertRule): void {
  for (const key of keys) {
    const known = map.get(key)
    if (known) known.push(rule)
    else map.set(key, [rule])
  }
}
