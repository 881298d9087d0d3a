import { ask, type SeriesType, type Value } from '../api.js'
import type { HomeDevice, HomeValue } from '../home/catalogue.js'
import { withWords } from '../home/catalogue.js'
import { nameOf, numberText, shownOf, type Tone } from '../home/format.js'
import { en, type TextKey } from '../texts/en.js'
import { say as sayText } from '../texts/language.js'
import { decimalsOf, labelOf, nameText } from '../wording.js'

/** A series as people know it. */
export interface Subject {
  readonly key: string
  readonly type: SeriesType
  readonly name: string
  /** Name of the device, with its area; empty for a series that is of none. */
  readonly device: string
  readonly unit: string
  /** Topic of all readings; undefined when that is not one. */
  readonly topic: string | undefined
  /** Name of the value in messages on that topic. */
  readonly field: string
  /** Digits behind the point that a person or the device has set. */
  readonly decimals: number | undefined
  /** Ids under which alerts and commands know the device. */
  readonly ids: readonly string[]
  /** Topics for commands to the device. */
  readonly commands: readonly string[]
  readonly spec: Pick<HomeValue, 'class' | 'unit' | 'decimals' | 'texts' | 'thresholds'>
}

function subjectOf(value: HomeValue, device: HomeDevice): Subject {
  const { series = '', unit = '', decimals, topic, field } = value
  const { id, client, controls } = device
  return {
    key: series,
    type: value.type ?? 'number',
    name: nameOf(value),
    device: [nameText(device.name), device.area && nameText(device.area)].filter(Boolean).join(' · '),
    unit,
    topic,
    field,
    decimals,
    ids: [id, client].filter(one => one !== undefined),
    commands: controls.map(control => control.topic),
    spec: withWords(value, device),
  }
}

function subjectsOf(devices: readonly HomeDevice[]): readonly Subject[] {
  return devices.flatMap(device =>
    device.values.filter(({ series }) => series !== undefined).map(value => subjectOf(value, device)),
  )
}

/** Most words in which the list of series is searched for a key. */
const keyWords = 10

/** Resolves with what is known of some series; those that the hub does not have are left out. */
export async function findSubjects(keys: readonly string[]): Promise<readonly Subject[]> {
  const { devices } = await ask('GET /api/home', { series: [...keys], limit: 100 })
  const known = subjectsOf(devices)
  const missing = keys.filter(key => !known.some(subject => subject.key === key))
  // The catalogue knows nothing of devices that have been silent for long.
  return [...known, ...(await Promise.all(missing.map(findStored))).filter(one => one !== undefined)]
}

async function findStored(key: string): Promise<Subject | undefined> {
  const search = key
    .split(/[\s,=\\]+/)
    .slice(0, keyWords)
    .join(' ')
  const { series } = await ask('GET /api/series', { search, limit: 1_000 })
  const found = series.find(row => row.key === key)
  if (!found) return undefined
  const { name, place, device } = labelOf(found, new Set())
  const { unit = '', type, tags, field } = found
  return {
    ...{ key, type, name: nameText(name), unit, topic: tags.topic, field, decimals: undefined, ids: [], commands: [] },
    device: [device, place].filter(Boolean).map(nameText).join(' · '),
    spec: unit === '' ? {} : { unit },
  }
}

/** Resolves with series whose names contain all words, in the language of the page or in English. */
export async function searchSubjects(text: string): Promise<readonly Subject[]> {
  const search = text
    .toLowerCase()
    .split(/\s+/)
    .filter(Boolean)
    .map(word => [word, ...keysNamed(word)].join('|'))
    .join(' ')
  const { devices } = await ask('GET /api/home', { search, limit: 50 })
  return subjectsOf(devices)
}

/** Most names of values that one word may mean. */
const mostKeys = 12

/** Returns the words of the hub for values whose names contain a word. */
function keysNamed(word: string): readonly string[] {
  const names = Object.keys(en).filter(key => key.startsWith('name.'))
  return names
    .filter(key =>
      sayText(key as TextKey)
        .toLowerCase()
        .includes(word),
    )
    .map(key => key.slice('name.'.length))
    .slice(0, mostKeys)
}

/** Returns a value in words, without its unit. `more`: additional digits, for means. */
export function textOf(subject: Subject, value: Value, decimals: number, more = 0): string {
  if (typeof value !== 'number' || subject.type !== 'number') return stateOf(subject, value).text
  return numberText(value, (subject.decimals ?? decimals) + more)
}

/** Returns the word for a state, and how urgent it looks. */
export function stateOf({ type, spec }: Subject, value: Value): { readonly text: string; readonly tone: Tone } {
  return shownOf(type === 'boolean' && typeof value !== 'boolean' ? Number(value) > 0.5 : value, spec)
}

/** Returns a value with its unit, whole however long. */
export function quantityText(subject: Subject, value: Value, decimals?: number, more = 0): string {
  const digits = decimals ?? (typeof value === 'number' ? decimalsOf(value) : 0)
  const suffix = subject.type === 'number' && subject.unit !== '' ? ` ${subject.unit}` : ''
  return textOf(subject, value, digits, more) + suffix
}
