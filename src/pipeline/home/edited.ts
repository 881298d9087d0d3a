import type { BoardEdits } from '../../boards/boards.js'
import type { HomeDevice, HomeValue } from '../../contract/contract.js'
import type { DeviceRows } from './device-rows.js'

type EditOfDevice = NonNullable<BoardEdits['devices']>[string]
type EditOfValue = NonNullable<EditOfDevice['values']>[string]

/** Changes that people made to a device, beside those in the rows. */
export type Edited = Pick<HomeDevice, 'hidden' | 'icon' | 'order' | 'given' | 'edits'>

/** Names a value in edits. No topic has a `#`. */
export const valueKey = ({ topic, field }: Pick<HomeValue, 'topic' | 'field'>) => `${topic}#${field}`

/** Returns the id under which a device has edits: its own, or one that it had before it was described. */
export function editedAs(
  { devices = {} }: BoardEdits,
  { id, aliases }: { readonly id: string; readonly aliases: readonly string[] },
): string | undefined {
  return [id, ...aliases].find(one => Object.hasOwn(devices, one))
}

/** Returns the rows of a device as people want them. `as`: the id under which it has edits. */
export function editedRows(
  rows: DeviceRows,
  { devices = {} }: BoardEdits,
  as: string | undefined,
): { readonly rows: DeviceRows; readonly edited: Edited } {
  const edit = as === undefined ? undefined : devices[as]
  if (as === undefined || !edit) return { rows, edited: {} }
  const { name, area, hidden, icon, order, main, values = {} } = edit
  const isNamed = name !== undefined && name !== rows.name
  const isPlaced = area !== undefined && area !== (rows.area ?? '')
  const changed = rows.values.map(value => {
    const key = valueKey(value)
    return Object.hasOwn(values, key) ? editedValue(value, values[key] as EditOfValue) : value
  })
  return {
    rows: {
      ...rows,
      name: name ?? rows.name,
      area: area === undefined ? rows.area : area === '' ? undefined : area,
      values: inOrder(changed, main),
    },
    edited: {
      ...(as !== rows.id && { edits: as }),
      ...(hidden && { hidden: true as const }),
      ...(icon !== undefined && { icon }),
      ...(order !== undefined && { order }),
      ...((isNamed || isPlaced) && {
        given: { ...(isNamed && { name: rows.name }), ...(isPlaced && rows.area !== undefined && { area: rows.area }) },
      }),
    },
  }
}

function editedValue(value: HomeValue, { name, unit, decimals, hidden, icon, thresholds }: EditOfValue): HomeValue {
  const { key, ...rest } = value
  return {
    ...rest,
    // A name that a person chose is not translated.
    ...(name === undefined ? key !== undefined && { key } : { name }),
    ...(unit !== undefined && { unit }),
    ...(decimals !== undefined && { decimals }),
    ...(hidden && { hidden: true as const, main: false }),
    ...(icon !== undefined && { icon }),
    ...(thresholds && { thresholds }),
  }
}

/** Main values first, in the order that a person chose. */
function inOrder(values: readonly HomeValue[], main: readonly string[] | undefined): readonly HomeValue[] {
  if (main === undefined) return [...values.filter(one => one.main), ...values.filter(one => !one.main)]
  const chosen = main.flatMap(key => values.find(value => valueKey(value) === key) ?? [])
  const others = values.filter(value => !chosen.includes(value))
  return [...chosen.map(value => ({ ...value, main: true })), ...others.map(value => ({ ...value, main: false }))]
}
