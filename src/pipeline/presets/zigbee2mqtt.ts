import { isMembers, type Members } from '../decoders/members.js'
import { type DeviceDescription, type EntityDescription, type Preset, textOf } from './preset.js'
import { exposedControls, exposedStates, specificTypes } from './zigbee2mqtt-controls.js'

/** Zigbee2MQTT: https://www.zigbee2mqtt.io/guide/usage/mqtt_topics_and_messages.html */
export const zigbee2mqtt: Preset = {
  name: 'zigbee2mqtt',
  title: 'Zigbee2MQTT',
  topics: [
    {
      topic: '{base...}/bridge/devices',
      is: 'description',
      about: 'names, models, units and commands of the devices',
      describe: ({ levels, payload }) => {
        if (!Array.isArray(payload) || !payload.every(isDevice)) return undefined
        return payload.flatMap(device => describe(levels.base as string, device))
      },
    },
    {
      topic: '{base...}/bridge/groups',
      is: 'description',
      about: 'names of the groups',
      describe: ({ payload }) => {
        const areGroups = Array.isArray(payload) && payload.every(one => isMembers(one) && 'friendly_name' in one)
        return areGroups ? [] : undefined
      },
    },
    {
      topic: 'zigbee2mqtt*/{more...}/bridge/(info|definitions|definition|extensions|converters|config|event|health)',
      is: 'ignored',
      about: 'the state of the bridge itself',
    },
    {
      topic: '{base...}/bridge/(info|definitions)',
      is: 'ignored',
      looksLike: /"(?:coordinator|custom_clusters|permit_join)"\s*:/,
    },
    { topic: '{base...}/bridge/(log|logging)', is: 'log', looksLike: /^\s*\{\s*"(?:level|type)"[\s\S]*"message"\s*:/ },
    {
      topic: '{base...}/bridge/(request|response)/{path...}',
      is: 'log',
      looksLike: /^\s*(?:$|\{)/,
    },
    {
      topic: 'zigbee2mqtt*/{more...}/bridge/(log|logging|response|request)/{rest...}',
      is: 'log',
      about: 'log and answers',
    },
    { topic: 'zigbee2mqtt*/{device...}/(set|get)', is: 'command' },
    { topic: 'zigbee2mqtt*/{device...}/(set|get)/{attribute}', is: 'command', about: 'commands' },
    {
      topic: 'zigbee2mqtt*/{device...}',
      about: 'a field for each value; the time is `last_seen`, if it is switched on',
      time: ['last_seen'],
    },
  ],
}

function isDevice(value: unknown): value is Members {
  return isMembers(value) && typeof value.ieee_address === 'string' && 'friendly_name' in value
}

function describe(base: string, device: Members): DeviceDescription[] {
  const name = textOf(device, 'friendly_name')
  if (device.type === 'Coordinator' || name === undefined) return []
  const definition = isMembers(device.definition) ? device.definition : {}
  const topic = `${base}/${name}`
  const exposes = Array.isArray(definition.exposes) ? definition.exposes.filter(isMembers) : []
  const kinds = exposes.map(({ type }) => type).filter(type => typeof type === 'string' && specificTypes.includes(type))
  const about = `${textOf(definition, 'description') ?? ''} ${textOf(definition, 'model') ?? ''}`
  const controls = exposedControls(topic, exposes, about)
  return [
    {
      source: 'zigbee2mqtt',
      id: device.ieee_address as string,
      name,
      model: textOf(definition, 'model') ?? textOf(device, 'model_id'),
      manufacturer: textOf(definition, 'vendor') ?? textOf(device, 'manufacturer'),
      version: textOf(device, 'software_build_id'),
      base: topic,
      ...(kinds.length > 0 && { kinds: [...new Set(kinds as string[])] }),
      ...(controls.length > 0 && { controls }),
      entities: entitiesOf(topic, definition.exposes, ''),
    },
  ]
}

/** Bits of `access`: https://www.zigbee2mqtt.io/guide/usage/exposes.html */
const mayBeSet = 2

function entitiesOf(topic: string, exposes: unknown, prefix: string): EntityDescription[] {
  if (!Array.isArray(exposes)) return []
  return exposes.filter(isMembers).flatMap(one => {
    const property = textOf(one, 'property')
    const inner = property !== undefined && one.type === 'composite' ? `${prefix}${property}.` : prefix
    const features = entitiesOf(topic, one.features, inner)
    if (property === undefined || one.type === 'composite') return features
    const isSettable = typeof one.access === 'number' && (one.access & mayBeSet) !== 0
    const category = textOf(one, 'category')
    const states = exposedStates(one)
    return [
      {
        topic,
        field: prefix + property,
        name: textOf(one, 'label', 'name'),
        unit: textOf(one, 'unit'),
        ...(isSettable && { commandTopic: `${topic}/set` }),
        ...((category === 'config' || category === 'diagnostic') && { category }),
        ...(states && { states }),
      },
      ...features,
    ]
  })
}
