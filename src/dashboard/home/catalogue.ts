/** Words about the devices of the catalogue: how bad they are off, where they stand, what a search finds. */

import type { Answer } from '../../contract/contract.js'

export type Catalogue = Answer<'GET /api/home'>
/** A named view of some devices. */
export type Board = Answer<'GET /api/boards'>['boards'][string]
export type HomeDevice = Catalogue['devices'][number]
export type HomeValue = HomeDevice['values'][number]
export type HomeControl = HomeDevice['controls'][number]
export type ControlOption = NonNullable<HomeControl['options']>[number]

/**
 * How a device is, the worst last. `unstored`: some values are not stored. `unusual`, `bad`: a value is outside of the
 * limits that people have set.
 */
export const levels = ['ok', 'unstored', 'unusual', 'silent', 'offline', 'info', 'warning', 'bad', 'critical'] as const
export type Level = (typeof levels)[number]

/** Returns the worst that is known of a device. `limits`: that of its values. */
export function levelOf(device: HomeDevice, limits: Level = 'ok'): Level {
  return worstOf([limits, conditionOf(device)])
}

function conditionOf(device: HomeDevice): Level {
  if (device.alerts > 0 && device.severity) return device.severity
  if (device.online === false) return 'offline'
  if (device.silent) return 'silent'
  return device.notKept > 0 ? 'unstored' : 'ok'
}

export function worstOf(found: readonly Level[]): Level {
  return levels[Math.max(0, ...found.map(level => levels.indexOf(level)))] ?? 'ok'
}

/** Devices of one area; `name` is empty for those that stand nowhere. */
export interface Group {
  readonly name: string
  readonly devices: readonly HomeDevice[]
  readonly level: Level
  /** Devices that are not `ok`. */
  readonly wrong: number
  /** Whether these are the favourites of the user, of whatever area. */
  readonly isFavourites: boolean
}

/**
 * Returns the devices by area, in the order of the catalogue; the favourites come first, and those without an area last.
 * `favourites`: ids.
 */
export function groupsOf(
  { areas }: Pick<Catalogue, 'areas'>,
  devices: readonly HomeDevice[],
  levelFor: (device: HomeDevice) => Level = device => levelOf(device),
  favourites: readonly string[] = [],
): readonly Group[] {
  const group = (name: string, members: readonly HomeDevice[], isFavourites = false): Group => {
    const of = members.map(levelFor)
    const wrong = of.filter(level => level !== 'ok').length
    return { name, devices: members, level: worstOf(of), wrong, isFavourites }
  }
  const found = new Map<string, HomeDevice[]>(areas.map(({ name }) => [name, []]))
  const nowhere: HomeDevice[] = []
  const chosen = favourites.flatMap(id => devices.find(device => device.id === id) ?? [])
  for (const device of devices) {
    const { area = '' } = device
    if (chosen.includes(device)) continue
    if (area === '') nowhere.push(device)
    else if (found.has(area)) found.get(area)?.push(device)
    else found.set(area, [device])
  }
  const groups = [...found, ['', nowhere] as const].map(([name, members]) => group(name, members))
  return [group('', chosen, true), ...groups].filter(({ devices: members }) => members.length > 0)
}

const haystacks = new WeakMap<HomeDevice, string>()

/** Returns what is written on a device, in lower case. */
export function haystackOf(device: HomeDevice): string {
  const known = haystacks.get(device)
  if (known !== undefined) return known
  const { id, name, area = '', model = '', values } = device
  let text = `${id}\n${name}\n${area}\n${device.class}\n${model}`
  for (const value of values) text += `\n${value.name}\n${value.topic}`
  const haystack = text.toLowerCase()
  haystacks.set(device, haystack)
  return haystack
}

/** Whether all words, in lower case, are in what is written on the device. */
export function isFound(device: HomeDevice, words: readonly string[]): boolean {
  if (words.length === 0) return true
  const haystack = haystackOf(device)
  return words.every(word => haystack.includes(word))
}

/** Whether a board shows a device. */
export function isOnBoard({ areas = [], devices = [] }: Board, { id, area }: HomeDevice): boolean {
  return devices.includes(id) || (area !== undefined && areas.includes(area))
}

/** Identifies a value of a device among all that the feed brings. */
export function keyOf({ topic, field }: { readonly topic: string; readonly field: string }): string {
  return `${topic}\0${field}`
}

const spoken = new WeakMap<HomeValue, HomeValue>()

/**
 * Returns a value with words for what it may be: where the device gives none, those of the control that sets the value.
 * The same object each time.
 */
export function withWords(value: HomeValue, { controls }: Pick<HomeDevice, 'controls'>): HomeValue {
  if (value.texts) return value
  const known = spoken.get(value)
  if (known) return known
  const control = controls.find(({ state, options }) => state && options && keyOf(state) === keyOf(value))
  const texts = (control?.options ?? []).flatMap(({ value: means, key, name }) =>
    means === undefined ? [] : [{ value: means, name, ...(key !== undefined && { key }) }],
  )
  const worded = texts.length > 0 ? { ...value, texts } : value
  spoken.set(value, worded)
  return worded
}
