/** Patches of the edits for what people do on the screen, and words about patches. */

import type { Boards, BoardsPatch } from '../api.js'
import type { Catalogue, HomeDevice } from '../home/catalogue.js'

export type DeviceEdit = Boards['devices'][string]
export type ValueEdit = NonNullable<DeviceEdit['values']>[string]
/** Changes of one device; null removes what a person has set. */
export type DevicePatch = { readonly [Name in keyof DeviceEdit]?: DeviceEdit[Name] | null }
export type ValuePatch = { readonly [Name in keyof ValueEdit]?: ValueEdit[Name] | null }

/** Names a value in edits. */
export function valueKey({ topic, field }: { readonly topic: string; readonly field: string }): string {
  return `${topic}#${field}`
}

/** Id under which the edits of a device are. */
export function editsOf({ id, edits = id }: HomeDevice): string {
  return edits
}

export function patchOf(device: HomeDevice, change: DevicePatch): BoardsPatch {
  return { devices: { [editsOf(device)]: change } }
}

/** A move on the screen, and the patch for that. */
export interface Move {
  readonly catalogue: Catalogue
  readonly patch: BoardsPatch
}

/** Returns how to put a device at a place among those of an area, of which the device may be one. Empty: no area. */
export function deviceMoved(catalogue: Catalogue, device: HomeDevice, area: string, to: number): Move {
  const others = catalogue.devices.filter(one => one !== device)
  const members = others.filter(one => (one.area ?? '') === area)
  const { area: _, ...rest } = device
  const moved: HomeDevice = area === '' ? rest : { ...rest, area }
  members.splice(to, 0, moved)
  const changes: Record<string, DevicePatch> = {}
  const placed = members.map((one, order) => {
    if (one.order !== order) changes[editsOf(one)] = { order }
    return { ...one, order }
  })
  if ((device.area ?? '') !== area) changes[editsOf(device)] = { ...changes[editsOf(device)], area }
  const elsewhere = others.filter(one => (one.area ?? '') !== area)
  const isNew = area !== '' && !catalogue.areas.some(({ name }) => name === area)
  const areas = isNew ? [...catalogue.areas, { name: area, devices: 1 }] : catalogue.areas
  return { catalogue: { ...catalogue, areas, devices: [...elsewhere, ...placed] }, patch: { devices: changes } }
}

export function areaMoved(catalogue: Catalogue, name: string, to: number): Move {
  const areas = catalogue.areas.filter(area => area.name !== name)
  const moved = catalogue.areas.find(area => area.name === name)
  if (moved) areas.splice(to, 0, moved)
  return { catalogue: { ...catalogue, areas }, patch: { areas: areas.map(area => area.name) } }
}

/** Returns how to give an area another name: that of all its devices, and in the order. */
export function areaRenamed(catalogue: Catalogue, name: string, to: string): Move {
  const names = catalogue.areas.map(area => (area.name === name ? to : area.name))
  const members = catalogue.devices.filter(({ area }) => area === name)
  const devices = catalogue.devices.map(one => (one.area === name ? { ...one, area: to } : one))
  const areas = [...new Set(names)].map(one => ({ name: one, devices: 0 }))
  const changes = Object.fromEntries(members.map(one => [editsOf(one), { area: to }]))
  return { catalogue: { ...catalogue, areas, devices }, patch: { areas: [...new Set(names)], devices: changes } }
}

/** Whether two versions of the edits differ in what a patch changes, and the newer is not what the patch wants. */
export function overlaps(patch: unknown, before: unknown, after: unknown): boolean {
  if (!isMap(patch)) {
    const [was, is, wanted] = [before, after, patch ?? undefined].map(one => JSON.stringify(one))
    return was !== is && is !== wanted
  }
  return Object.entries(patch).some(([name, inner]) => overlaps(inner, memberOf(before, name), memberOf(after, name)))
}

function isMap(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function memberOf(value: unknown, name: string): unknown {
  return isMap(value) && Object.hasOwn(value, name) ? value[name] : undefined
}

/** A change as people call it: of which device or board, and what about that. */
export interface Told {
  readonly device?: HomeDevice
  /** Id of a board. */
  readonly board?: string
  /** Member that was changed: `name`, `area`, `values`; `areas` without a device. */
  readonly member: string
  readonly more: boolean
}

/** Reads the sentence of a change: `devices.freezer.name, areas`. */
export function toldOf(what: string, devices: readonly HomeDevice[]): Told {
  const more = / and \d+ more$/.test(what) || what.includes(', ')
  const of = (id: string) => what === `devices.${id}` || what.startsWith(`devices.${id}.`)
  // The longest id, as one may begin with another.
  const [device] = devices.filter(one => of(editsOf(one))).sort((a, b) => editsOf(b).length - editsOf(a).length)
  if (device) {
    const rest = what.slice(`devices.${editsOf(device)}.`.length)
    return { device, member: /^\w+/.exec(rest)?.[0] ?? '', more }
  }
  const board = /^boards\.([\w-]+)/.exec(what)?.[1]
  if (board !== undefined) return { board, member: 'boards', more }
  return { member: /^\w+/.exec(what)?.[0] ?? '', more }
}
