import { isMembers, type Members } from '../decoders/members.js'
import { valueShown } from './control-values.js'
import { type ControlDescription, type ControlOption, type StateWord, textOf } from './preset.js'

/*
 * Commands and states in `exposes` of Zigbee2MQTT: https://www.zigbee2mqtt.io/guide/usage/exposes.html
 */

/** Bits of `access`. */
const isPublished = 1
const mayBeSet = 2

/** Types of exposes that say what a whole device is, in the words of Home Assistant. */
export const specificTypes = ['light', 'switch', 'fan', 'cover', 'lock', 'climate']

/** Values with which a slip of the finger could do harm, by their names in Zigbee2MQTT. */
const dangerousProperties = /^(?:.*valve.*|system_mode|restart|reset|factory_reset|update|alarm|garage.*)$/

/** Words in what a model is called that say so. Asking once too often does no harm. */
const dangerousModels = /\b(?:valve|garage|lock|heater|heating|boiler|gate)\b/i

/** Most options of a choice. */
const maxOptions = 100

interface ExposedPart {
  readonly topic: string
  /** Type of the specific expose in which the part is, such as `lock`. */
  readonly of: string | undefined
  readonly isDangerous: boolean
}

/** Returns the controls that a device exposes. Composites, whose parts must be sent together, are left out. */
export function exposedControls(topic: string, exposes: unknown, about: string): readonly ControlDescription[] {
  const isDangerous = dangerousModels.test(about)
  const parts = (list: unknown, of: string | undefined): readonly ControlDescription[] =>
    (Array.isArray(list) ? list : []).filter(isMembers).flatMap(one => {
      const type = textOf(one, 'type') ?? ''
      if (type === 'composite' || type === 'list') return []
      const isSpecific = specificTypes.includes(type)
      const inner = parts(one.features, isSpecific ? type : of)
      const own = isSpecific ? undefined : controlOf(one, { topic, of, isDangerous })
      return own ? [own, ...inner] : inner
    })
  return parts(exposes, undefined)
}

function controlOf(one: Members, { topic, of, isDangerous }: ExposedPart): ControlDescription | undefined {
  const property = textOf(one, 'property')
  const access = typeof one.access === 'number' ? one.access : 0
  if (property === undefined || (access & mayBeSet) === 0) return undefined
  const isRisky =
    of === 'lock' || dangerousProperties.test(property) || (isDangerous && (of !== undefined || property === 'state'))
  const common = {
    name: textOf(one, 'label') ?? property,
    topic: `${topic}/set`,
    ...((access & isPublished) !== 0 && { state: { topic, field: property } }),
    ...(isRisky && { dangerous: true as const }),
  }
  const payload = (value: unknown) => JSON.stringify({ [property]: value })
  const option = (value: unknown, key?: string): ControlOption => ({
    name: key === undefined ? String(value) : key.charAt(0).toUpperCase() + key.slice(1),
    ...(key !== undefined && { key }),
    payload: payload(value),
    value: typeof value === 'string' ? valueShown(value) : (value as number | boolean),
  })
  switch (one.type) {
    case 'binary':
      if (!('value_on' in one && 'value_off' in one)) return undefined
      if (of === 'lock') {
        return { kind: 'choice', ...common, options: [option(one.value_on, 'lock'), option(one.value_off, 'unlock')] }
      }
      return { kind: 'switch', ...common, options: [option(one.value_on, 'on'), option(one.value_off, 'off')] }
    case 'numeric': {
      const { value_min: min, value_max: max, value_step: step } = one
      if (typeof min !== 'number' || typeof max !== 'number') return undefined
      const unit = textOf(one, 'unit')
      const range = { min, max, step: typeof step === 'number' ? step : 1, ...(unit !== undefined && { unit }) }
      return { kind: 'slider', ...common, payload: `{${JSON.stringify(property)}:{value}}`, range }
    }
    case 'enum': {
      const values = Array.isArray(one.values) ? one.values.filter(value => typeof value === 'string') : []
      const [only] = values
      if (only === undefined) return undefined
      if (values.length === 1) return { kind: 'button', ...common, options: [option(only)] }
      const keyed = (value: string) => (/^(?:open|close|stop)$/i.test(value) ? value.toLowerCase() : undefined)
      return { kind: 'choice', ...common, options: values.slice(0, maxOptions).map(one => option(one, keyed(one))) }
    }
    default:
      return undefined
  }
}

/** Words for values whose meaning Zigbee2MQTT documents by their name. A closed contact is true there. */
const words: Readonly<Record<string, readonly [whenTrue: string, whenFalse: string]>> = {
  contact: ['closed', 'open'],
  occupancy: ['detected', 'clear'],
  presence: ['detected', 'clear'],
  water_leak: ['wet', 'dry'],
  smoke: ['detected', 'clear'],
  gas: ['detected', 'clear'],
  carbon_monoxide: ['detected', 'clear'],
  vibration: ['detected', 'clear'],
  tamper: ['detected', 'clear'],
  battery_low: ['low', 'normal'],
}

/** Returns the words for the values of a state, where they are documented. */
export function exposedStates(one: Members): readonly StateWord[] | undefined {
  const pair = one.type === 'binary' ? words[textOf(one, 'property') ?? ''] : undefined
  if (!pair) return undefined
  const [whenTrue, whenFalse] = pair
  return [
    { value: true, key: whenTrue },
    { value: false, key: whenFalse },
  ]
}
