import { json, membersOf } from './json.js'
import type { Behaviour, Publication } from './member.js'
import { battery, door, light, motion, noise, type Payload, round, thermostat, wave } from './profiles.js'

/* Zigbee2MQTT with discovery: https://www.zigbee2mqtt.io/guide/usage/mqtt_topics_and_messages.html */

/** Time after which the freezer begins to warm, and how long that takes. */
const freezerGoodMs = 60_000
const freezerWarmsMs = 600_000
/** Time after which the battery of the garden sensor is empty. */
const gardenLivesMs = 180_000

interface Exposed {
  readonly name: string
  readonly unit?: string
  /** As in Home Assistant. */
  readonly deviceClass?: string
}

interface ZigbeeDevice {
  readonly name: string
  readonly area: string
  readonly model: string
  readonly vendor: string
  readonly hasBattery: boolean
  readonly exposes: readonly Exposed[]
  /** Kind of Home Assistant's component that takes commands. */
  readonly takes?: 'light' | 'lock' | 'switch'
  /** Milliseconds between reports. */
  readonly everyMs: number
  values(seed: number, now: number, begin: number): Payload
}

const temperature = { name: 'temperature', unit: '°C', deviceClass: 'temperature' }
const humidity = { name: 'humidity', unit: '%', deviceClass: 'humidity' }
const climate = (name: string, area: string): ZigbeeDevice => ({
  ...{ name, area, model: 'WSDCGQ11LM', vendor: 'Aqara', hasBattery: true, everyMs: 5_000 },
  exposes: [temperature, humidity, { name: 'pressure', unit: 'hPa', deviceClass: 'atmospheric_pressure' }],
  values: (seed, now) => {
    const { temperature, humidity } = thermostat(seed, now)
    return { temperature, humidity, pressure: round(1_013 + 6 * wave(1, now, 86_400_000), 1) } as Payload
  },
})

const zigbeeDevices: readonly ZigbeeDevice[] = [
  climate('Kitchen thermometer', 'Kitchen'),
  climate('Bathroom thermometer', 'Bathroom'),
  climate('Bedroom thermometer', 'Bedroom'),
  {
    ...{ name: 'Living room lamp', area: 'Living room', model: 'LED1836G9', vendor: 'IKEA', hasBattery: false },
    ...{ takes: 'light', everyMs: 30_000 },
    exposes: [{ name: 'state' }, { name: 'brightness' }],
    values: (seed, now) => light(seed, now),
  },
  {
    ...{ name: 'Hall motion', area: 'Hall', model: 'RTCGQ11LM', vendor: 'Aqara', hasBattery: true, everyMs: 10_000 },
    exposes: [
      { name: 'occupancy', deviceClass: 'occupancy' },
      { name: 'illuminance', unit: 'lx', deviceClass: 'illuminance' },
    ],
    values: (seed, now) => {
      const { motion: occupancy, illuminance } = motion(seed, now)
      return { occupancy, illuminance } as Payload
    },
  },
  {
    ...{ name: 'Front door', area: 'Hall', model: 'MCCGQ11LM', vendor: 'Aqara', hasBattery: true, everyMs: 10_000 },
    exposes: [{ name: 'contact', deviceClass: 'door' }],
    values: (seed, now) => ({ contact: door(seed, now).open !== true }),
  },
  {
    ...{ name: 'Front door lock', area: 'Hall', model: 'SmartLock', vendor: 'Nuki', hasBattery: true, everyMs: 60_000 },
    takes: 'lock',
    exposes: [{ name: 'state' }],
    values: () => ({}),
  },
  {
    ...{ name: 'Freezer', area: 'Cellar', model: 'TS0201', vendor: 'Tuya', hasBattery: true, everyMs: 5_000 },
    exposes: [temperature],
    values: (seed, now, begin) => {
      const warmth = Math.min(1, Math.max(0, (now - begin - freezerGoodMs) / freezerWarmsMs))
      return { temperature: round(-18.6 + 12 * warmth + 0.2 * noise(seed, now, 20_000), 1) }
    },
  },
  {
    ...{
      name: 'Garden thermometer',
      area: 'Garden',
      model: 'TS0201',
      vendor: 'Tuya',
      hasBattery: true,
      everyMs: 5_000,
    },
    exposes: [temperature, humidity],
    values: (seed, now) => ({
      temperature: round(8 + 5 * wave(seed, now, 86_400_000), 1),
      humidity: round(71 + 6 * wave(seed, now, 7_200_000), 1),
    }),
  },
]

/** The bridge, with all its devices over one connection. */
export class Zigbee2Mqtt implements Behaviour {
  readonly clientId = 'mqttjs_8be2455a'
  readonly intervalMs = 1_000
  readonly commands = ['zigbee2mqtt/+/set', 'zigbee2mqtt/+/get']
  readonly will = { topic: 'zigbee2mqtt/bridge/state', payload: json({ state: 'offline' }), retain: true }
  readonly #seed: number
  readonly #begin = Date.now()
  readonly #reportedAt = new Map<string, number>()
  readonly #commanded = new Map<string, Record<string, unknown>>([
    ['Front door lock', { state: 'LOCK', lock_state: 'locked' }],
  ])

  constructor(seed: number) {
    this.#seed = seed
  }

  birth(now: number): readonly Publication[] {
    this.#reportedAt.clear()
    return [
      { topic: 'zigbee2mqtt/bridge/state', payload: json({ state: 'online' }), retain: true },
      { topic: 'zigbee2mqtt/bridge/devices', payload: json(zigbeeDevices.map(this.#described)), retain: true },
      ...zigbeeDevices.flatMap((device, i) => [
        ...this.#discovery(device, i),
        { topic: `zigbee2mqtt/${device.name}/availability`, payload: json({ state: 'online' }), retain: true },
      ]),
      ...this.report(now),
    ]
  }

  report(now: number): readonly Publication[] {
    return zigbeeDevices.flatMap((device, i) => {
      if (device.area === 'Garden' && now - this.#begin > gardenLivesMs) return []
      if (now - (this.#reportedAt.get(device.name) ?? 0) < device.everyMs) return []
      return [this.#state(device, i, now)]
    })
  }

  obey(topic: string, payload: string, now: number): readonly Publication[] {
    const [, name, verb] = topic.split('/')
    const i = zigbeeDevices.findIndex(device => device.name === name)
    const device = zigbeeDevices[i]
    if (!device) return []
    if (verb === 'set' && device.takes) {
      const { state, brightness } = membersOf(payload)
      const before = this.#values(device, i, now)
      const next: Record<string, unknown> = {}
      const asked = String(state ?? '').toUpperCase()
      if (device.takes === 'lock') Object.assign(next, { state: asked, lock_state: `${asked.toLowerCase()}ed` })
      else if (asked === 'TOGGLE') next.state = before.state === 'ON' ? 'OFF' : 'ON'
      else if (asked) next.state = asked
      if (typeof brightness === 'number') Object.assign(next, { brightness, state: brightness > 0 ? 'ON' : 'OFF' })
      this.#commanded.set(device.name, { ...this.#commanded.get(device.name), ...next })
    }
    return [this.#state(device, i, now)]
  }

  farewell(): readonly Publication[] {
    return [this.will]
  }

  #values(device: ZigbeeDevice, i: number, now: number) {
    const { on, brightness, power: _, ...values } = device.values(this.#seed + i, now, this.#begin) as Payload
    const lamp =
      device.takes === 'light' ? { state: on ? 'ON' : 'OFF', brightness: Math.round(Number(brightness) * 2.54) } : {}
    return { ...values, ...lamp, ...this.#commanded.get(device.name) } as Record<string, unknown>
  }

  #state(device: ZigbeeDevice, i: number, now: number): Publication {
    this.#reportedAt.set(device.name, now)
    const charge = device.hasBattery && {
      battery: Math.round(device.area === 'Garden' ? 3 : battery(this.#seed + i, now)),
      voltage: 2_985,
    }
    const state = {
      ...this.#values(device, i, now),
      ...charge,
      linkquality: Math.round(120 + 40 * noise(this.#seed + i, now, 60_000)),
      update: { installed_version: 16777241, latest_version: 16777241, state: 'idle' },
    }
    return { topic: `zigbee2mqtt/${device.name}`, payload: json(state) }
  }

  readonly #described = (device: ZigbeeDevice, i: number) => ({
    ieee_address: address(i),
    type: device.hasBattery ? 'EndDevice' : 'Router',
    friendly_name: device.name,
    power_source: device.hasBattery ? 'Battery' : 'Mains (single phase)',
    supported: true,
    definition: {
      model: device.model,
      vendor: device.vendor,
      exposes: [
        ...(device.takes ? [{ type: device.takes, features: features(device) }] : []),
        ...device.exposes
          .filter(({ name }) => !device.takes || (name !== 'state' && name !== 'brightness'))
          .map(({ name, unit }) => ({
            ...{ type: unit ? 'numeric' : 'binary', name, property: name, label: label(name), access: 1 },
            ...(unit && { unit }),
          })),
        ...(device.hasBattery
          ? [
              { type: 'numeric', name: 'battery', property: 'battery', label: 'Battery', unit: '%', ...diagnostic },
              { type: 'numeric', name: 'voltage', property: 'voltage', label: 'Voltage', unit: 'mV', ...diagnostic },
            ]
          : []),
        {
          ...{ type: 'numeric', name: 'linkquality', property: 'linkquality', label: 'Linkquality' },
          ...{ unit: 'lqi', ...diagnostic },
        },
      ],
    },
  })

  #discovery(device: ZigbeeDevice, i: number): Publication[] {
    const topic = `zigbee2mqtt/${device.name}`
    const about = {
      availability: [{ topic: 'zigbee2mqtt/bridge/state' }, { topic: `${topic}/availability` }],
      device: {
        identifiers: [`zigbee2mqtt_${address(i)}`],
        name: device.name,
        suggested_area: device.area,
        model: device.model,
        manufacturer: device.vendor,
      },
      state_topic: topic,
    }
    const config = (component: string, object: string, more: object) => ({
      topic: `homeassistant/${component}/${address(i)}/${object}/config`,
      payload: json({ unique_id: `${address(i)}_${object}_zigbee2mqtt`, ...about, ...more }),
      retain: true,
    })
    const taking = device.takes && [
      config(device.takes, device.takes, {
        ...{ name: null, command_topic: `${topic}/set`, schema: 'json', supported_color_modes: ['brightness'] },
        ...(device.takes === 'lock' && { value_template: '{{ value_json.state }}', payload_lock: 'LOCK' }),
        ...(device.takes === 'lock' && { payload_unlock: 'UNLOCK', state_locked: 'LOCK', state_unlocked: 'UNLOCK' }),
      }),
    ]
    const readings = device.exposes
      .filter(({ name }) => name !== 'state' && name !== 'brightness')
      .map(({ name, unit, deviceClass }) =>
        config(unit ? 'sensor' : 'binary_sensor', name, {
          ...{ name: label(name), value_template: `{{ value_json.${name} }}`, device_class: deviceClass },
          ...(unit
            ? { unit_of_measurement: unit }
            : { payload_on: name !== 'contact', payload_off: name === 'contact' }),
        }),
      )
    const charge = device.hasBattery
      ? [
          config('sensor', 'battery', {
            ...{ name: 'Battery', value_template: '{{ value_json.battery }}', device_class: 'battery' },
            ...{ unit_of_measurement: '%', entity_category: 'diagnostic' },
          }),
          config('sensor', 'voltage', {
            ...{ name: 'Voltage', value_template: '{{ value_json.voltage }}', device_class: 'voltage' },
            ...{ unit_of_measurement: 'mV', entity_category: 'diagnostic' },
          }),
        ]
      : []
    return [...(taking ?? []), ...readings, ...charge]
  }
}

const diagnostic = { access: 1, category: 'diagnostic' }
const address = (i: number) => `0x00158d0001${(0xa1b2c3 + i).toString(16)}`
const label = (name: string) => name[0]?.toUpperCase() + name.slice(1)

function features({ takes }: ZigbeeDevice): object[] {
  const of = (property: string, more: object) => ({
    name: property,
    property,
    label: label(property),
    access: 7,
    ...more,
  })
  if (takes === 'lock') return [of('state', { type: 'binary', value_on: 'LOCK', value_off: 'UNLOCK' })]
  const state = of('state', { type: 'binary', value_on: 'ON', value_off: 'OFF', value_toggle: 'TOGGLE' })
  return takes === 'light' ? [state, of('brightness', { type: 'numeric', value_min: 0, value_max: 254 })] : [state]
}
