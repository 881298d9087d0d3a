import { readYamlText } from '../config/config.js'
import { HubError } from '../errors.js'
import type { SeriesId } from '../model.js'
import { isSelected, type Selector } from './rule.js'
import { RuleReader } from './rule-reader.js'

/** A series, and what else a selection may ask for. */
export interface SelectableNames {
  readonly id: SeriesId
  /** Names of the device. */
  readonly devices: readonly string[]
  readonly deviceClass: string | undefined
}

/** A choice of series, in the words of alert rules. */
export class SeriesSelection {
  readonly #selector: Selector

  /**
   * Reads the text of a selection: `{field: temperature, tags: {room: kitchen}}` as in alert rules, or the same in words:
   * `field=temperature tags.room=kitchen`. Empty, or `*`: all series. Throws `bad_request` that names each mistake.
   */
  constructor(text: string) {
    const reader = new RuleReader()
    this.#selector = reader.selector(mapOf(text.trim()))
    const [first] = reader.mistakes
    if (first) throw wrong(text, `${[...first.path, ''].join(': ')}${first.sentence}`)
  }

  /** Whether names of devices or classes are asked for. */
  get asksDevices(): boolean {
    return this.#selector.device !== undefined || this.#selector.deviceClass !== undefined
  }

  includes({ id, devices, deviceClass }: SelectableNames): boolean {
    const { measurement, field, device, deviceClass: wanted, tags } = this.#selector
    return (
      isSelected(measurement, id.measurement) &&
      isSelected(field, id.field) &&
      isSelected(wanted, deviceClass) &&
      (!device || devices.some(name => isSelected(device, name))) &&
      tags.every(([name, patterns]) => isSelected(patterns, id.tags.find(([tag]) => tag === name)?.[1]))
    )
  }
}

function mapOf(text: string): unknown {
  if (text === '' || text === '*') return {}
  if (text.startsWith('{')) {
    const { value, mistakes } = readYamlText(text)
    if (mistakes[0]) throw wrong(text, mistakes[0].sentence)
    return value
  }
  const map: Record<string, unknown> = {}
  const tags: [string, string][] = []
  for (const word of text.split(/\s+/)) {
    const [, key = '', value = ''] = /^([^=]+)=(.+)$/.exec(word) ?? []
    if (key === '') throw wrong(text, `${word} is no NAME=VALUE`)
    if (key.startsWith('tags.')) tags.push([key.slice(5), value])
    else map[key] = Object.hasOwn(map, key) ? [map[key], value].flat() : value
  }
  // Entries, as a tag may be called __proto__.
  return tags.length > 0 ? { ...map, tags: Object.fromEntries(tags) } : map
}

function wrong(text: string, sentence: string): HubError {
  return new HubError(
    'bad_request',
    `select: given ${JSON.stringify(text.slice(0, 200))}: ${sentence}; allowed is such as field=temperature tags.room=kitchen, ` +
      'or {field: temperature, tags: {room: kitchen}}',
  )
}
