import type { DeviceRows } from './device-rows.js'

type FoundRow = DeviceRows['values'][number]

/** Most words of a search, each with the other words that count as well. */
const maxWords = 10

/** Most series that are asked for at once. */
const maxSeries = 16

/** Selects values of devices: those of some series, and those whose names contain some words. */
export class FoundValues {
  /** Keys of the series that are wanted; empty: all. */
  readonly series: readonly string[]
  readonly #words: readonly (readonly string[])[]

  constructor(series: string | readonly string[] | undefined, search = '') {
    this.series = series === undefined ? [] : [series].flat().slice(0, maxSeries)
    const words = search.toLowerCase().split(/\s+/).filter(Boolean).slice(0, maxWords)
    this.#words = words.map(word => word.split('|').filter(Boolean)).filter(word => word.length > 0)
  }

  /** Returns the values of a device that are wanted. */
  of(device: { readonly id: string }, { name, area = '', about, values }: DeviceRows): readonly FoundRow[] {
    const { model = '', manufacturer = '' } = about
    const ofDevice = [name, area, device.id, model, manufacturer].join('\n').toLowerCase()
    return values.filter(row => {
      if (this.series.length > 0 && (row.series === undefined || !this.series.includes(row.series))) return false
      if (this.#words.length === 0) return true
      const text = `${ofDevice}\n${textOf(row)}`
      return this.#words.every(word => word.some(one => text.includes(one)))
    })
  }
}

function textOf({ name, key = '', part = '', field, topic, unit = '' }: FoundRow): string {
  return [name, key, part, field, topic, unit].join('\n').toLowerCase()
}
