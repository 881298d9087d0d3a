import { isMembers, type Members } from '../decoders/members.js'
import { valueShown } from './control-values.js'
import {
  type AvailabilityDescription,
  type ControlDescription,
  type ControlOption,
  type StateWord,
  textOf,
} from './preset.js'

/*
 * Commands, states and availability in the discovery of Home Assistant. A command that a template makes of
 * something else than the bare value is left out: what cannot be sent exactly is not offered.
 */

/** One entity of discovery, with what its parts have in common filled in. */
export interface DiscoveredEntity {
  readonly component: string
  readonly config: Members
  readonly name: string
  readonly deviceClass: string | undefined
  /** Returns the topic of a member, with `~` filled in. */
  topic(...names: readonly string[]): string | undefined
  /** Returns the field that the template of a member takes from the payload. */
  field(...names: readonly string[]): string
}

/** Returns the controls of an entity. */
export function discoveredControls(entity: DiscoveredEntity): readonly ControlDescription[] {
  return makers[entity.component]?.(entity) ?? []
}

type ControlMaker = (entity: DiscoveredEntity) => readonly ControlDescription[]

/** Classes of entities with which a slip of the finger could do harm. */
const dangerousClasses = new Set([
  'garage',
  'garage_door',
  'gate',
  'door',
  'restart',
  'update',
  'heat',
  'heater',
  'gas',
  'water',
])

const isDangerous = ({ deviceClass }: DiscoveredEntity) =>
  deviceClass !== undefined && dangerousClasses.has(deviceClass)

const danger = (is: boolean) => (is ? { dangerous: true as const } : {})

function stateOf(entity: DiscoveredEntity, topics: readonly string[], templates: readonly string[]) {
  const topic = entity.topic(...topics)
  return topic === undefined ? {} : { state: { topic, field: entity.field(...templates) } }
}

const state = (entity: DiscoveredEntity) =>
  stateOf(entity, ['state_topic', 'stat_t'], ['value_template', 'val_tpl', 'state_value_template', 'stat_val_tpl'])

/** Returns the payload for a value by a template. Undefined when only a template engine could make it. */
function payloadBy(template: string | undefined): string | undefined {
  if (template === undefined) return '{value}'
  const parts = template.split(/\{\{\s*value\s*(?:\|\s*(?:int|float|string|round)(?:\([^)]*\))?\s*)?\}\}/)
  const [before = '', after = ''] = parts
  return parts.length !== 2 || /\{[{%]/.test(before + after) ? undefined : `${before}{value}${after}`
}

const given = (config: Members, fallback: string, ...names: readonly string[]) => {
  const value = names.map(name => config[name]).find(one => one !== undefined && one !== null)
  return value === undefined ? fallback : String(value)
}

const numberOf = (config: Members, fallback: number, ...names: readonly string[]) => {
  const value = names.map(name => config[name]).find(one => typeof one === 'number')
  return typeof value === 'number' ? value : fallback
}

const option = (key: string, payload: string, value: string = payload): ControlOption => ({
  name: key.charAt(0).toUpperCase() + key.slice(1),
  key,
  payload,
  value: valueShown(value),
})

/** A light whose payloads are JSON: https://www.home-assistant.io/integrations/light.mqtt/#json-schema */
function jsonLight(entity: DiscoveredEntity, topic: string): readonly ControlDescription[] {
  const { config, name } = entity
  const stateTopic = entity.topic('state_topic', 'stat_t')
  const at = (field: string) => (stateTopic === undefined ? {} : { state: { topic: stateTopic, field } })
  const switched: ControlDescription = {
    ...{ kind: 'switch', name, topic },
    options: [option('on', '{"state":"ON"}', 'ON'), option('off', '{"state":"OFF"}', 'OFF')],
    ...at('state'),
  }
  const isDimmed = config.brightness === true || config.bri === true || hasBrightness(config)
  if (!isDimmed) return [switched]
  const range = { min: 0, max: numberOf(config, 255, 'brightness_scale', 'bri_scl'), step: 1 }
  return [
    switched,
    { kind: 'slider', name: 'Brightness', topic, payload: '{"brightness":{value}}', range, ...at('brightness') },
  ]
}

/** Whether the colour modes are such that the brightness is one of the values. */
function hasBrightness({ supported_color_modes: modes, sup_clrm: short }: Members): boolean {
  const all = Array.isArray(modes) ? modes : Array.isArray(short) ? short : []
  return all.some(mode => mode !== 'onoff')
}

function onOff(entity: DiscoveredEntity): readonly ControlDescription[] {
  const { config, name } = entity
  const topic = entity.topic('command_topic', 'cmd_t')
  if (topic === undefined) return []
  if (entity.component === 'light' && config.schema === 'json') return jsonLight(entity, topic)
  if (config.schema === 'template' || 'command_template' in config || 'cmd_tpl' in config) return []
  const [on, off] = [given(config, 'ON', 'payload_on', 'pl_on'), given(config, 'OFF', 'payload_off', 'pl_off')]
  return [
    {
      ...{ kind: 'switch', name, topic },
      options: [
        option('on', on, given(config, on, 'state_on', 'stat_on')),
        option('off', off, given(config, off, 'state_off', 'stat_off')),
      ],
      ...state(entity),
      ...danger(isDangerous(entity)),
    },
  ]
}

function light(entity: DiscoveredEntity): readonly ControlDescription[] {
  const topic = entity.topic('brightness_command_topic', 'bri_cmd_t')
  if (topic === undefined) return onOff(entity)
  const { config } = entity
  const payload = payloadBy(textOf(config, 'brightness_command_template', 'bri_cmd_tpl'))
  if (payload === undefined) return onOff(entity)
  return [
    ...onOff(entity),
    {
      ...{ kind: 'slider', name: 'Brightness', topic, payload },
      range: { min: 0, max: numberOf(config, 255, 'brightness_scale', 'bri_scl'), step: 1 },
      ...stateOf(entity, ['brightness_state_topic', 'bri_stat_t'], ['brightness_value_template', 'bri_val_tpl']),
    },
  ]
}

/** A choice among fixed payloads. */
function choice(
  entity: DiscoveredEntity,
  options: readonly ControlOption[],
  more: Partial<ControlDescription> = {},
): readonly ControlDescription[] {
  const topic = entity.topic('command_topic', 'cmd_t')
  return topic === undefined ? [] : [{ kind: 'choice', name: entity.name, topic, options, ...state(entity), ...more }]
}

function cover(entity: DiscoveredEntity): readonly ControlDescription[] {
  const { config } = entity
  const may = danger(isDangerous(entity) || entity.component === 'valve')
  const fixed = (['open', 'stop', 'close'] as const).flatMap(key => {
    // A payload of null is an action that the device does not have.
    const name = `payload_${key}`
    if (config[name] === null || (key === 'stop' && entity.component === 'valve' && !(name in config))) return []
    const states = { open: 'open', close: 'closed', stop: 'stopped' }
    const shown = given(config, states[key], `state_${key === 'close' ? 'closed' : key}`)
    return [option(key, given(config, key.toUpperCase(), name, `pl_${key === 'close' ? 'cls' : key}`), shown)]
  })
  const topic = entity.topic('set_position_topic', 'set_pos_t')
  const payload = payloadBy(textOf(config, 'set_position_template', 'set_pos_tpl'))
  const [closed, open] = [
    numberOf(config, 0, 'position_closed', 'pos_clsd'),
    numberOf(config, 100, 'position_open', 'pos_open'),
  ]
  return [
    ...choice(entity, fixed, may),
    ...(topic === undefined || payload === undefined
      ? []
      : [
          {
            ...({ kind: 'slider', name: 'Position', topic, payload } as const),
            range: { min: Math.min(closed, open), max: Math.max(closed, open), step: 1 },
            ...stateOf(entity, ['position_topic', 'pos_t'], ['position_template', 'pos_tpl']),
            ...may,
          },
        ]),
  ]
}

function lock(entity: DiscoveredEntity): readonly ControlDescription[] {
  const { config } = entity
  if ('command_template' in config || 'cmd_tpl' in config || 'code_format' in config) return []
  const options = [
    option(
      'lock',
      given(config, 'LOCK', 'payload_lock', 'pl_lock'),
      given(config, 'LOCKED', 'state_locked', 'stat_locked'),
    ),
    option(
      'unlock',
      given(config, 'UNLOCK', 'payload_unlock', 'pl_unlk'),
      given(config, 'UNLOCKED', 'state_unlocked', 'stat_unlocked'),
    ),
  ]
  return choice(entity, options, { dangerous: true })
}

function number(entity: DiscoveredEntity): readonly ControlDescription[] {
  const { config, name } = entity
  const topic = entity.topic('command_topic', 'cmd_t')
  const payload = payloadBy(textOf(config, 'command_template', 'cmd_tpl'))
  if (topic === undefined || payload === undefined) return []
  const unit = textOf(config, 'unit_of_measurement', 'unit_of_meas')
  const range = {
    min: numberOf(config, 1, 'min'),
    max: numberOf(config, 100, 'max'),
    step: numberOf(config, 1, 'step'),
    ...(unit !== undefined && { unit }),
  }
  return [{ kind: 'slider', name, topic, payload, range, ...state(entity), ...danger(isDangerous(entity)) }]
}

function select(entity: DiscoveredEntity): readonly ControlDescription[] {
  const { options, ops } = entity.config
  const payload = payloadBy(textOf(entity.config, 'command_template', 'cmd_tpl'))
  return payload === undefined ? [] : choice(entity, optionsOf(options ?? ops, payload))
}

function optionsOf(all: unknown, payload: string): readonly ControlOption[] {
  const texts = Array.isArray(all) ? all.filter(one => typeof one === 'string').slice(0, 100) : []
  return texts.map(text => ({ name: text, payload: payload.replace('{value}', () => text), value: valueShown(text) }))
}

function button(entity: DiscoveredEntity): readonly ControlDescription[] {
  const topic = entity.topic('command_topic', 'cmd_t')
  const { config, name } = entity
  if (topic === undefined || 'command_template' in config || 'cmd_tpl' in config) return []
  const payload = given(
    config,
    entity.component === 'scene' ? 'ON' : 'PRESS',
    'payload_press',
    'pl_prs',
    'payload_on',
    'pl_on',
  )
  return [{ kind: 'button', name, topic, options: [option('press', payload)], ...danger(isDangerous(entity)) }]
}

function update(entity: DiscoveredEntity): readonly ControlDescription[] {
  const topic = entity.topic('command_topic', 'cmd_t')
  const payload = textOf(entity.config, 'payload_install', 'pl_inst')
  if (topic === undefined || payload === undefined) return []
  return [{ kind: 'button', name: 'Update', topic, options: [option('install', payload)], dangerous: true }]
}

function climate(entity: DiscoveredEntity): readonly ControlDescription[] {
  const { config } = entity
  const controls: ControlDescription[] = []
  const target = entity.topic('temperature_command_topic', 'temp_cmd_t')
  const payload = payloadBy(textOf(config, 'temperature_command_template', 'temp_cmd_tpl'))
  if (target !== undefined && payload !== undefined) {
    controls.push({
      ...{ kind: 'slider', name: 'Target temperature', topic: target, payload },
      range: {
        min: numberOf(config, 7, 'min_temp'),
        max: numberOf(config, 35, 'max_temp'),
        step: numberOf(config, 0.5, 'temp_step'),
        unit: `°${given(config, 'C', 'temperature_unit', 'temp_unit')}`,
      },
      ...stateOf(entity, ['temperature_state_topic', 'temp_stat_t'], ['temperature_state_template', 'temp_stat_tpl']),
    })
  }
  const mode = entity.topic('mode_command_topic', 'mode_cmd_t')
  const ofMode = payloadBy(textOf(config, 'mode_command_template', 'mode_cmd_tpl'))
  if (mode !== undefined && ofMode !== undefined) {
    controls.push({
      ...{ kind: 'choice', name: 'Mode', topic: mode, dangerous: true },
      options: optionsOf(config.modes, ofMode),
      ...stateOf(entity, ['mode_state_topic', 'mode_stat_t'], ['mode_state_template', 'mode_stat_tpl']),
    })
  }
  return controls
}

const makers: Readonly<Record<string, ControlMaker>> = {
  switch: onOff,
  siren: onOff,
  fan: onOff,
  humidifier: onOff,
  light,
  cover,
  valve: cover,
  lock,
  number,
  select,
  button,
  scene: button,
  update,
  climate,
  water_heater: climate,
}

/** Words for the states of binary sensors: https://www.home-assistant.io/integrations/binary_sensor/#device-class */
const binaryWords: Readonly<Record<string, readonly [on: string, off: string]>> = {
  battery: ['low', 'normal'],
  cold: ['cold', 'normal'],
  connectivity: ['connected', 'disconnected'],
  door: ['open', 'closed'],
  garage_door: ['open', 'closed'],
  opening: ['open', 'closed'],
  window: ['open', 'closed'],
  gas: ['detected', 'clear'],
  carbon_monoxide: ['detected', 'clear'],
  heat: ['hot', 'normal'],
  light: ['detected', 'clear'],
  lock: ['unlocked', 'locked'],
  moisture: ['wet', 'dry'],
  motion: ['detected', 'clear'],
  moving: ['moving', 'stopped'],
  occupancy: ['detected', 'clear'],
  plug: ['plugged_in', 'unplugged'],
  presence: ['home', 'away'],
  problem: ['problem', 'ok'],
  safety: ['unsafe', 'safe'],
  smoke: ['detected', 'clear'],
  sound: ['detected', 'clear'],
  tamper: ['detected', 'clear'],
  vibration: ['detected', 'clear'],
}

/** Returns the words for the two states of a binary sensor, a switch or a light. */
export function binaryStates({ component, config, deviceClass }: DiscoveredEntity): readonly StateWord[] | undefined {
  if (component !== 'binary_sensor') return undefined
  const [on, off] = binaryWords[deviceClass ?? ''] ?? ['on', 'off']
  return [
    { value: valueShown(given(config, 'ON', 'payload_on', 'pl_on')), key: on },
    { value: valueShown(given(config, 'OFF', 'payload_off', 'pl_off')), key: off },
  ]
}

/** Returns the topics that say whether a device is there, the most special one first. */
export function availabilityOf({ config, topic, field }: DiscoveredEntity): readonly AvailabilityDescription[] {
  const words = (from: Members) => ({
    online: given(from, 'online', 'payload_available', 'pl_avail'),
    offline: given(from, 'offline', 'payload_not_available', 'pl_not_avail'),
  })
  const own = topic('availability_topic', 'avty_t')
  const list = Array.isArray(config.availability) ? config.availability : Array.isArray(config.avty) ? config.avty : []
  const listed = list.filter(isMembers).flatMap(one => {
    const at = textOf(one, 'topic', 't')
    if (at === undefined) return []
    const full = at.startsWith('~') ? `${textOf(config, '~') ?? ''}${at.slice(1)}` : at
    return [{ topic: full, field: templateField(one), ...words(one) }]
  })
  // The last one of a list is that of the device, those before are of its gateway.
  const all = [...listed].reverse()
  return own === undefined
    ? all
    : [{ topic: own, field: field('availability_template', 'avty_tpl'), ...words(config) }, ...all]
}

function templateField(one: Members): string {
  return /value_json\.([\w.]+)/.exec(textOf(one, 'value_template', 'val_tpl') ?? '')?.[1] ?? 'value'
}
