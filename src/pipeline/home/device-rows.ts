import type { HomeControl, HomeDevice, HomeValue } from '../../contract/contract.js'
import { type FieldType, type FieldValue, seriesKey } from '../../model.js'
import type { TimeSeriesStore } from '../../store/store.js'
import type { RefusedReading } from '../feeds/reading-json.js'
import type { Mapping } from '../mapping.js'
import type { DeviceDescription, StateWord } from '../presets/preset.js'
import { controlsOf } from './controls.js'
import { classOf } from './device-class.js'
import { isGeneric } from './families.js'
import type { DeviceMember, GroupedDevice } from './grouping.js'
import { human, type MadeName, nameOf, plainRank, wordOf } from './words.js'

/** Sources of the rows of a device. */
export interface RowSources {
  readonly mapping: Mapping
  readonly store: Pick<TimeSeriesStore, 'fieldOf'>
}

/** A value, and what only the catalogue needs to know of it. */
export interface ValueRow {
  readonly value: HomeValue
  /** Place among what is wanted first; 0: never shown large. */
  readonly rank: number
  readonly isBattery: boolean
}

/** Everything of a device that changes with its structure only. */
export interface DeviceRows {
  readonly id: string
  readonly name: string
  readonly area: string | undefined
  readonly class: HomeDevice['class']
  readonly about: Pick<HomeDevice, 'family' | 'model' | 'manufacturer' | 'version' | 'battery'>
  /** Main values first, in their order; then the others by name. */
  readonly values: readonly HomeValue[]
  readonly controls: readonly HomeControl[]
}

/** Most values of a device, and most that are shown large. */
const maxValues = 2_000
const maxMain = 4
/** Fewest values that a card shows large, if there are as many. */
const fewestMain = 2

/** Makes the rows of a device. */
export function rowsOf(
  device: GroupedDevice,
  sources: RowSources,
  refusedOf: (topic: string) => RefusedReading | undefined,
): DeviceRows {
  const said = firsts(device.described)
  const described = device.described.flatMap(({ controls = [] }) => controls.map(controlRow))
  const controls = distinctControls(controlsOf(device, described))
  const setBy = (wanted: HomeControl['kind']) =>
    new Set(controls.flatMap(({ kind, state }) => (kind === wanted && state ? [placeOf(state)] : [])))
  const switched = setBy('switch')
  const chosen = setBy('choice')
  const rows: ValueRow[] = []
  for (const member of device.members) {
    const refused = refusedOf(member.seen.topic)
    for (const row of seenRows(member, sources, refused)) if (rows.length < maxValues) rows.push(row)
  }
  rows.push(...unseenRows(device, sources))
  const named = distinct(rows).map(row => (isSwitched(row, switched) ? { ...row, rank: switchedRank } : row))
  const main = mainOf(named, chosen)
  const others = named.filter(row => !main.includes(row)).sort(byRole)
  const values = [...main.map(({ value }) => ({ ...value, main: true })), ...others.map(({ value }) => value)]
  const battery = named.find(({ isBattery }) => isBattery)?.value
  const ownName = said.name ?? device.tagged.name ?? lastLevel(device.base ?? device.id)
  const name = said.name ?? human(ownName)
  return {
    id: device.id,
    name,
    area: said.area ?? areaOf(device),
    class: classOf({
      kinds: device.described.flatMap(({ kinds = [] }) => kinds),
      quantities: new Set(main.flatMap(({ value }) => [value.class, value.key].filter(one => one !== undefined))),
      texts: [name, said.model, device.id.endsWith('/bridge') ? 'bridge' : ''].filter(text => text !== undefined),
      isSwitched: controls.some(({ kind }) => kind === 'switch'),
      isBelowPlant: /^(?:plant|factory|line|machines?)\//i.test(device.base ?? ''),
    }),
    about: {
      ...(device.family !== undefined && { family: device.family }),
      ...(said.model !== undefined && { model: said.model }),
      ...(said.manufacturer !== undefined && { manufacturer: said.manufacturer }),
      ...(said.version !== undefined && { version: said.version }),
      ...(battery && { battery: { topic: battery.topic, field: battery.field } }),
    },
    values,
    controls,
  }
}

/** Whether a value is what a switch sets, and no better known as something else. */
function isSwitched({ value, rank }: ValueRow, switched: ReadonlySet<string>): boolean {
  return value.role === 'value' && rank > switchedRank && switched.has(placeOf(value))
}

const placeOf = ({ topic, field }: { readonly topic: string; readonly field: string }) => `${topic}\0${field}`

const switchedRank = 7

function firsts(described: readonly DeviceDescription[]) {
  const first = <Name extends 'name' | 'area' | 'model' | 'manufacturer' | 'version'>(member: Name) =>
    // Some call themselves by nothing but their id.
    described
      .map(one => (one[member] === one.id ? undefined : one[member]))
      .find(one => one !== undefined && one !== '')
  return {
    name: first('name'),
    area: first('area'),
    model: first('model'),
    manufacturer: first('manufacturer'),
    version: first('version'),
  }
}

/** Returns the area that tags name, or the level above the device where the topic has three or more before the value. */
function areaOf({ tagged, base = '', family }: GroupedDevice): string | undefined {
  if (tagged.area !== undefined) return human(tagged.area)
  if (family !== undefined) return undefined
  const levels = base.split(' ', 1)[0]?.split('/') ?? []
  const above = levels.length >= 3 ? levels.at(-2) : undefined
  return above === undefined || above === '' ? undefined : human(above)
}

const lastLevel = (base: string) => base.slice(base.lastIndexOf('/') + 1) || base

const examples: Readonly<Record<FieldType, FieldValue>> = { number: 0, boolean: false, text: '' }

function* seenRows(member: DeviceMember, sources: RowSources, refused: RefusedReading | undefined): Iterable<ValueRow> {
  const { seen, group, owner, fields, others } = member
  const { measurement, tags, shape } = group
  const made = new Set<string>()
  for (const { name, type } of shape.fields) {
    if (fields ? !fields.has(name) : others?.has(name)) continue
    const field = sources.store.fieldOf({ measurement, tags, field: name }, examples[type])
    if (made.has(field)) continue
    made.add(field)
    const isRefused =
      refused !== undefined &&
      (refused.fields === undefined || refused.fields.includes(field) || refused.fields.includes(name))
    yield valueRow({
      ...{ sources, topic: seen.topic, name, field, type, owner },
      unit: sources.mapping.unit({ measurement, field: name }, seen.topic),
      fate: isRefused
        ? { fate: 'live', reason: refused.reason, detail: refused.detail }
        : { fate: seen.isLate ? 'late' : 'kept', series: seriesKey({ measurement, tags, field }) },
    })
  }
}

/** Returns the values of descriptions of which nothing was heard yet, as long as nothing was heard of their topic. */
function* unseenRows(device: GroupedDevice, sources: RowSources): Iterable<ValueRow> {
  const heard = new Set(device.members.map(({ seen }) => seen.topic))
  const made = new Set<string>()
  for (const { entities } of device.described) {
    for (const { topic, field } of entities) {
      const key = `${topic}\0${field}`
      if (heard.has(topic) || made.has(key) || made.size >= maxUnseen) continue
      made.add(key)
      const unit = sources.mapping.knowledge.unitOf(topic, field)
      const owner = { rest: [lastLevel(topic)] }
      yield valueRow({ sources, topic, name: field, field, type: undefined, owner, unit, fate: { fate: 'unseen' } })
    }
  }
}

const maxUnseen = 50

interface ValueSigns {
  readonly sources: RowSources
  readonly topic: string
  /** Name of the field in the payload, and in the store. */
  readonly name: string
  readonly field: string
  readonly type: FieldType | undefined
  readonly owner: { readonly rest: readonly string[]; readonly availability?: unknown }
  readonly unit: string | undefined
  readonly fate: Pick<HomeValue, 'fate' | 'series' | 'reason' | 'detail'>
}

function valueRow({ sources, topic, name, field, type, owner, unit, fate }: ValueSigns): ValueRow {
  const entity = sources.mapping.knowledge.entityOf(topic, name)
  const rest = owner.rest.length > 1 || name === 'value' ? owner.rest : owner.rest.filter(level => !isGeneric(level))
  const levels = rest.length === 0 && name === 'value' ? [lastLevel(topic)] : rest
  const made = nameOf([...levels, ...(name === 'value' ? [] : name.split('.'))])
  const said = entity?.name === undefined ? undefined : nameSaid(entity.name)
  const role = entity?.category ?? (owner.availability || inside.test(topic) ? 'diagnostic' : made.role)
  const quantity = entity?.deviceClass ?? (type === 'number' ? made.class : undefined)
  const rank = role !== 'value' ? 0 : rankOf(entity?.deviceClass, made, type, entity !== undefined)
  const key = said ? said.key : made.key
  return {
    value: {
      topic,
      field,
      ...(fate.series !== undefined && { series: fate.series }),
      ...(key !== undefined && { key }),
      name: said?.name ?? made.name,
      ...(quantity !== undefined && { class: quantity }),
      ...(unit !== undefined && unit !== '' && { unit }),
      ...(entity?.precision !== undefined && { decimals: Math.max(0, Math.round(entity.precision)) }),
      main: false,
      role,
      ...(type !== undefined && { type }),
      fate: fate.fate,
      ...(fate.reason !== undefined && { reason: fate.reason }),
      ...(fate.detail !== undefined && { detail: fate.detail }),
      ...(made.part !== '' && { part: made.part }),
      ...(entity?.states && { texts: entity.states.map(textOf) }),
    },
    rank,
    isBattery:
      entity?.deviceClass === 'battery' || (made.key === 'battery' && type === 'number') || made.key === 'battery_low',
  }
}

/** The temperature inside a relay of Shelly; that of a sensor is below `sensor`. */
const inside = /^shellies\/[^/]+\/temperature(?:_f)?$/

const textOf = ({ value, key }: StateWord) => ({ value, key, name: human(key) })

/** A name that a device gives, with the key when it is but the English word of the table. */
function nameSaid(name: string): { readonly name: string; readonly key: string | undefined } {
  const word = wordOf(name)
  const lower = name.toLowerCase()
  const isWord = word && (word.name.toLowerCase() === lower || word.key === lower.replaceAll(' ', '_'))
  return isWord ? word : { name: human(name), key: undefined }
}

function rankOf(
  deviceClass: string | undefined,
  made: MadeName,
  type: FieldType | undefined,
  isDescribed: boolean,
): number {
  const said = deviceClass === undefined ? undefined : wordOf(deviceClass)?.rank
  if (said !== undefined && said > 0) return said
  if (made.rank !== undefined) return made.rank
  // Described values count before those that a device sends besides.
  return plainRank[type ?? 'text'] - (isDescribed ? 5 : 0)
}

/** Rank from which on a value is shown large only while there are too few others. */
const fillingRank = 30

/**
 * Returns the values that a card shows large: each quantity once, by rank; others only while there are too few. What a
 * choice sets is on the card already. `chosen`: places of the states of choices.
 */
function mainOf(rows: readonly ValueRow[], chosen: ReadonlySet<string>): readonly ValueRow[] {
  const ranked = rows.filter(({ rank }) => rank > 0).sort((a, b) => a.rank - b.rank)
  const besides = ranked.filter(({ value }) => !chosen.has(placeOf(value)))
  // A bridge has nothing but the state that says whether it is there.
  if (ranked.length === 0) return [...rows].sort(byRole).slice(0, fewestMain)
  const wanted = besides.length > 0 ? besides : ranked
  const main: ValueRow[] = []
  const keys = new Set<string>()
  for (const row of wanted) {
    const key = row.value.key ?? row.value.name
    const isPlain = row.rank >= fillingRank
    if (main.length >= (isPlain ? fewestMain : maxMain) || keys.has(key)) continue
    keys.add(key)
    main.push(row)
  }
  for (const row of wanted) if (main.length < fewestMain && !main.includes(row)) main.push(row)
  return main
}

const roles = { value: 0, config: 1, diagnostic: 2 } as const

function byRole({ value: a }: ValueRow, { value: b }: ValueRow): number {
  return roles[a.role] - roles[b.role] || (a.name < b.name ? -1 : a.name > b.name ? 1 : 0)
}

/** Leaves the part of the device out where the name alone tells a value from the others. */
function distinct(rows: readonly ValueRow[]): readonly ValueRow[] {
  const parts = new Map<string, Set<string>>()
  for (const { value } of rows) {
    const known = parts.get(value.name) ?? new Set()
    parts.set(value.name, known.add(value.part ?? ''))
  }
  return rows.map(row => {
    if (row.value.part === undefined || (parts.get(row.value.name)?.size ?? 0) > 1) return row
    const { part: _, ...value } = row.value
    return { ...row, value }
  })
}

function controlRow({ options, ...control }: NonNullable<DeviceDescription['controls']>[number]): HomeControl {
  const word = wordOf(control.name)
  const isWord = word !== undefined && word.name.toLowerCase() === control.name.toLowerCase()
  return { ...control, ...(isWord && { key: word.key }), ...(options && { options }) } as HomeControl
}

/** Keeps the first of several controls for the same thing: two descriptions of a device may both have it. */
function distinctControls(controls: readonly HomeControl[]): readonly HomeControl[] {
  const seen = new Set<string>()
  return controls.filter(({ kind, topic, options, payload, state }) => {
    const what = state ? `${state.topic} ${state.field}` : (options?.map(one => one.payload).join(' ') ?? payload)
    const key = `${kind} ${topic} ${what}`
    if (seen.has(key)) return false
    seen.add(key)
    return true
  })
}
