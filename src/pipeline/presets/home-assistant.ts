import { isMembers, type Members } from '../decoders/members.js'
import { knownUnit } from '../decoders/units.js'
import { availabilityOf, binaryStates, type DiscoveredEntity, discoveredControls } from './home-assistant-controls.js'
import { type DeviceDescription, type EntityDescription, type Preset, textOf } from './preset.js'

/** Components of Home Assistant that have MQTT discovery. */
const components =
  '(alarm_control_panel|binary_sensor|button|camera|climate|cover|device|device_automation|device_tracker|event|fan|humidifier|image|lawn_mower|light|lock|notify|number|scene|select|sensor|siren|switch|tag|text|update|vacuum|valve|water_heater)'

/** Domains of entities that the state stream publishes. */
const domains =
  '(alarm_control_panel|automation|binary_sensor|button|calendar|camera|climate|counter|cover|device_tracker|event|fan|group|humidifier|image|input_boolean|input_button|input_datetime|input_number|input_select|input_text|light|lock|media_player|number|person|remote|scene|schedule|script|select|sensor|siren|sun|switch|text|timer|todo|update|vacuum|valve|water_heater|weather|zone)'

/** MQTT discovery of Home Assistant: https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery */
export const homeAssistantDiscovery: Preset = {
  name: 'homeassistant-discovery',
  title: 'Home Assistant discovery',
  note: 'The prefix of the topics may be any.',
  topics: [
    {
      topic: `{prefix...}/${components}/{object}/config`,
      is: 'description',
      describe: ({ topic, payload }) => describe(topic, payload, -3),
    },
    {
      topic: `{prefix...}/${components}/{node}/{object}/config`,
      is: 'description',
      about: 'names, areas, models, units and commands of devices',
      describe: ({ topic, payload }) => describe(topic, payload, -4),
    },
  ],
}

/** The state stream of Home Assistant: https://www.home-assistant.io/integrations/mqtt_statestream/ */
export const homeAssistantStatestream: Preset = {
  name: 'homeassistant-statestream',
  title: 'Home Assistant state stream',
  topics: [
    {
      topic: `{base...}/${domains}/{object}/unit_of_measurement`,
      is: 'description',
      about: 'the unit of the state',
      describe: ({ topic, payload }) => describeState(topic, payload, 'unit'),
    },
    {
      topic: `{base...}/${domains}/{object}/friendly_name`,
      is: 'description',
      about: 'the name of the state',
      describe: ({ topic, payload }) => describeState(topic, payload, 'name'),
    },
    {
      topic: `{base...}/${domains}/{object}/device_class`,
      is: 'description',
      describe: ({ topic, payload }) => describeState(topic, payload, 'deviceClass'),
    },
    {
      topic: `{base...}/${domains}/{object}/(last_updated|last_changed|last_reported|last_triggered|icon|entity_picture|attribution|supported_features|supported_color_modes|state_class|options|assumed_state|restored|editable|entity_id|context)`,
      is: 'ignored',
      about: 'what describes an entity and is no reading',
    },
    { topic: `{base...}/${domains}/{object}/state`, about: 'the state as `value`' },
  ],
}

/** Short forms in discovery: https://www.home-assistant.io/integrations/mqtt/#supported-abbreviations-in-mqtt-discovery-messages */
const short = {
  state: ['state_topic', 'stat_t'],
  command: ['command_topic', 'cmd_t'],
  attributes: ['json_attributes_topic', 'json_attr_t'],
  unit: ['unit_of_measurement', 'unit_of_meas'],
  class: ['device_class', 'dev_cla'],
  template: ['value_template', 'val_tpl'],
  manufacturer: ['manufacturer', 'mf'],
  model: ['model', 'mdl'],
  version: ['sw_version', 'sw'],
  area: ['suggested_area', 'sa'],
  id: ['unique_id', 'uniq_id'],
} as const

/** Members of which an object of discovery has at least one. */
const telling = [
  '~',
  'device',
  'dev',
  'components',
  'cmps',
  ...short.state,
  ...short.command,
  ...short.id,
  'topic',
  't',
]

/** @param level Place of the component among the levels of the topic, from the end */
function describe(topic: string, payload: unknown, level: number): readonly DeviceDescription[] | undefined {
  if (!isMembers(payload) || !telling.some(name => name in payload)) return undefined
  const device = isMembers(payload.device) ? payload.device : isMembers(payload.dev) ? payload.dev : {}
  const parts = [payload.components, payload.cmps].find(isMembers)
  const component = topic.split('/').at(level) ?? ''
  const described = (parts ? Object.values(parts).filter(isMembers) : [payload]).map(one => {
    const config: Members = { ...payload, ...one }
    const kind = (parts && textOf(one, 'platform', 'p')) ?? component
    const name = parts ? textOf(one, 'name') : textOf(payload, 'name')
    return { config, name, entity: discovered(config, kind, name ?? '') }
  })
  const deviceName = textOf(device, 'name') ?? textOf(payload, 'name')
  const area = textOf(device, ...short.area)
  return [
    {
      source: 'homeassistant',
      id: idOf(device) ?? textOf(payload, ...short.id) ?? topic,
      name: deviceName,
      ...(area !== undefined && { area }),
      model: textOf(device, ...short.model),
      manufacturer: textOf(device, ...short.manufacturer),
      version: textOf(device, ...short.version),
      ...listed('kinds', kindsOf(described.map(({ entity }) => entity))),
      ...listed('availability', described.flatMap(({ entity }) => availabilityOf(entity)).slice(0, 4)),
      ...listed(
        'controls',
        described.flatMap(({ entity }) => discoveredControls(entity)),
      ),
      entities: described.flatMap(({ config, name, entity }) => entityOf(config, name, entity)),
    },
  ]
}

/** Returns a member, unless its list is empty: most devices have nothing of the kind. */
function listed<Name extends string, Item>(name: Name, items: readonly Item[]) {
  return (items.length > 0 ? { [name]: items } : {}) as { readonly [key in Name]?: readonly Item[] }
}

/** Components that say what a whole device is; a sensor or a switch may be a small part of anything. */
const telltale = [
  'light',
  'climate',
  'water_heater',
  'cover',
  'lock',
  'fan',
  'valve',
  'vacuum',
  'lawn_mower',
  'camera',
  'siren',
]

function kindsOf(entities: readonly DiscoveredEntity[]): readonly string[] {
  const found = entities.filter(({ config }) => categoryOf(config) === undefined)
  const kinds = found.map(({ component, deviceClass }) => (deviceClass === 'outlet' ? 'outlet' : component))
  return [...new Set(kinds.filter(kind => telltale.includes(kind) || kind === 'outlet'))]
}

function categoryOf(config: Members): EntityDescription['category'] {
  const category = textOf(config, 'entity_category', 'ent_cat')
  return category === 'diagnostic' || category === 'config' ? category : undefined
}

function discovered(config: Members, component: string, name: string): DiscoveredEntity {
  const full = fullTopics(config)
  const deviceClass = textOf(config, ...short.class)
  return {
    ...{ component, config, deviceClass },
    name: name || component.charAt(0).toUpperCase() + component.slice(1).replaceAll('_', ' '),
    topic: (...names) => full(textOf(config, ...names)),
    field: (...names) => fieldOf(textOf(config, ...names)),
  }
}

/** Returns what fills the base into topics of an object of discovery. */
function fullTopics(config: Members): (topic: string | undefined) => string | undefined {
  const base = textOf(config, '~') ?? ''
  return topic =>
    topic?.startsWith('~') ? base + topic.slice(1) : topic?.endsWith('~') ? topic.slice(0, -1) + base : topic
}

function idOf(device: Members): string | undefined {
  const ids = device.identifiers ?? device.ids ?? device.connections ?? device.cns
  const first = Array.isArray(ids) ? (Array.isArray(ids[0]) ? ids[0][1] : ids[0]) : ids
  return typeof first === 'string' || typeof first === 'number' ? String(first) : undefined
}

/** Topics of entities that have several, with the member for the unit, or the unit. */
const others: readonly (readonly [names: readonly string[], unit: readonly string[] | string | undefined])[] = [
  [
    ['current_temperature_topic', 'curr_temp_t'],
    ['temperature_unit', 'temp_unit'],
  ],
  [
    ['temperature_state_topic', 'temp_stat_t'],
    ['temperature_unit', 'temp_unit'],
  ],
  [
    ['temperature_high_state_topic', 'temp_hi_stat_t'],
    ['temperature_unit', 'temp_unit'],
  ],
  [
    ['temperature_low_state_topic', 'temp_lo_stat_t'],
    ['temperature_unit', 'temp_unit'],
  ],
  [['current_humidity_topic', 'curr_hum_t'], '%'],
  [['target_humidity_state_topic', 'hum_stat_t'], '%'],
]
/** Members with the templates of these topics, by the topic's full name. */
const templates: Readonly<Record<string, readonly string[]>> = {
  current_temperature_topic: ['current_temperature_template', 'curr_temp_tpl'],
  temperature_state_topic: ['temperature_state_template', 'temp_stat_tpl'],
  temperature_high_state_topic: ['temperature_high_state_template', 'temp_hi_stat_tpl'],
  temperature_low_state_topic: ['temperature_low_state_template', 'temp_lo_stat_tpl'],
  current_humidity_topic: ['current_humidity_template', 'curr_hum_tpl'],
  target_humidity_state_topic: ['target_humidity_state_template', 'hum_state_tpl'],
}

function entityOf(config: Members, name: string | undefined, entity: DiscoveredEntity): readonly EntityDescription[] {
  const full = fullTopics(config)
  const more = others.flatMap(([names, from]) => {
    const topic = full(textOf(config, ...names))
    if (topic === undefined) return []
    const unit = typeof from === 'string' ? from : from && textOf(config, ...from)
    const field = fieldOf(textOf(config, ...(templates[names[0] as string] as readonly string[])))
    return [{ topic, field, name, unit: unit && (knownUnit(unit) ?? unit) }]
  })
  const topic = full(textOf(config, ...short.state))
  if (topic === undefined) return more
  const precision = config.suggested_display_precision ?? config.sug_dsp_prc
  const category = categoryOf(config)
  const states = binaryStates(entity)
  return [
    {
      topic,
      // The payload of such a light is an object whose state has this name.
      field: config.schema === 'json' ? 'state' : fieldOf(textOf(config, ...short.template)),
      name,
      unit: textOf(config, ...short.unit),
      deviceClass: textOf(config, ...short.class),
      ...(typeof precision === 'number' && { precision }),
      commandTopic: full(textOf(config, ...short.command)),
      ...(category !== undefined && { category }),
      ...(states && { states }),
    },
    ...more,
  ]
}

/** Returns the field that a template takes from the payload: `{{ value_json.ENERGY.Power }}`, `{{ value_json['x'] }}`. */
function fieldOf(template: string | undefined): string {
  const found = /value_json((?:\.[\w-]+|\[(?:'[^']*'|"[^"]*"|\d+)\])+)/.exec(template ?? '')?.[1]
  if (found === undefined) return 'value'
  return [...found.matchAll(/\.([\w-]+)|\[(?:'([^']*)'|"([^"]*)"|(\d+))\]/g)]
    .map(([, dotted, single, double, index]) => dotted ?? single ?? double ?? index)
    .join('.')
}

function describeState(
  topic: string,
  payload: unknown,
  member: 'unit' | 'name' | 'deviceClass',
): readonly DeviceDescription[] | undefined {
  if (typeof payload !== 'string') return undefined
  const [object = '', domain = ''] = topic.split('/').slice(0, -1).reverse()
  const state = `${topic.slice(0, topic.lastIndexOf('/'))}/state`
  const entity = { topic: state, field: 'value', ...(payload !== '' && { [member]: payload }) }
  const name = member === 'name' && payload !== '' ? { name: payload } : {}
  return [{ source: 'homeassistant-statestream', id: `${domain}.${object}`, ...name, entities: [entity] }]
}
