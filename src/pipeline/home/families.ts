/*
 * Which topics belong to one device, by what is documented of each family. The names are those of the presets, so that a
 * preset that is off groups nothing.
 */

/** Values by which a device says whether it is there, in lower case. */
export interface AvailabilityWords {
  readonly online: readonly string[]
  readonly offline: readonly string[]
}

/** The device to which a topic belongs. */
export interface TopicOwner {
  /** Names the device: the part of the topic that all its topics have in common, or as much. */
  readonly base: string
  readonly family: string | undefined
  /** Levels of the topic that say what of the device. */
  readonly rest: readonly string[]
  /** Set when the topic says whether the device is there. */
  readonly availability?: AvailabilityWords | undefined
  /** Whether topics that no family knows belong to the device, too, when they are below its base. */
  readonly isOpen?: boolean
}

interface TopicFamily {
  readonly preset: string
  readonly pattern: RegExp
  /** Prefix of the base where the base alone could be that of another device. */
  readonly prefix?: string
  readonly isOpen?: boolean
}

const words = (online: string, offline: string): AvailabilityWords => ({
  online: online.split(' '),
  offline: offline.split(' '),
})
const onlineOffline = words('online', 'offline')

/** By family: the last levels that say whether a device is there. */
const availabilities: Readonly<Record<string, Readonly<Record<string, AvailabilityWords>>>> = {
  zigbee2mqtt: { availability: onlineOffline, state: onlineOffline },
  tasmota: { LWT: onlineOffline },
  shelly1: { online: words('true', 'false') },
  shelly2: { online: words('true', 'false') },
  esphome: { status: onlineOffline },
  homie: { $state: words('init ready sleeping alert', 'disconnected lost') },
  wled: { status: onlineOffline },
  valetudo: { $state: words('init ready sleeping alert', 'disconnected lost') },
  frigate: { available: onlineOffline },
}

const components =
  'alarm_control_panel|binary_sensor|button|climate|cover|date|datetime|event|fan|light|lock|number|select|sensor|switch|text|text_sensor|time|update|valve'
const shellyComponents =
  'switch|cover|light|rgb|rgbw|cct|input|em|em1|emdata|em1data|pm1|temperature|humidity|devicepower|voltmeter|smoke|presence|sys|wifi|cloud|mqtt|ble|eth|ws|ui|bthome\\w*'

/** In the order in which they are asked. `b` is the base, `r` the rest. */
const families: readonly TopicFamily[] = [
  { preset: 'zigbee2mqtt', pattern: /^(?<b>zigbee2mqtt[^/]*\/bridge)\/(?<r>.+)$/ },
  { preset: 'zigbee2mqtt', pattern: /^(?<b>zigbee2mqtt[^/]*\/.+)\/(?<r>availability)$/ },
  { preset: 'zigbee2mqtt', pattern: /^(?<b>zigbee2mqtt[^/]*\/.+)$/ },
  { preset: 'tasmota', pattern: /^(?:tele|stat)\/(?<b>.+)\/(?<r>[^/]+)$/, prefix: 'tasmota/' },
  {
    preset: 'tasmota',
    pattern: /^(?<b>.+)\/(?:tele|stat)\/(?<r>SENSOR|STATE|RESULT|LWT|ENERGY|POWER\d*|DIMMER\d*|STATUS\d*)$/,
    prefix: 'tasmota/',
  },
  { preset: 'shelly1', pattern: /^(?<b>shellies\/[^/]+)\/(?<r>.+)$/ },
  { preset: 'homie', pattern: /^(?<b>homie\/(?:5\/)?[^/]+)\/(?<r>.+)$/ },
  { preset: 'ttn', pattern: /^(?<b>v3\/[^/]+\/devices\/[^/]+)\/(?<r>.+)$/ },
  { preset: 'chirpstack', pattern: /^(?<b>application\/[^/]+\/(?:device|node)\/[^/]+)\/(?<r>.+)$/ },
  { preset: 'valetudo', pattern: /^(?<b>valetudo\/[^/]+)\/(?<r>.+)$/ },
  { preset: 'wled', pattern: /^(?<b>wled[^/]*\/[^/]+)\/(?<r>.+)$/ },
  { preset: 'victron', pattern: /^(?<b>N\/[^/]+\/[^/]+\/\d+)\/(?<r>.+)$/ },
  { preset: 'teslamate', pattern: /^(?<b>teslamate\/(?:[^/]+\/)?cars\/[^/]+)\/(?<r>.+)$/ },
  { preset: 'evcc', pattern: /^(?<b>evcc[^/]*\/(?:loadpoints|vehicles)\/[^/]+)\/(?<r>.+)$/ },
  { preset: 'evcc', pattern: /^(?<b>evcc[^/]*\/site)\/(?<r>.+)$/ },
  { preset: 'solar-assistant', pattern: /^(?<b>solar_assistant\/[^/]+)\/(?<r>.+)$/ },
  { preset: 'zwave-js-ui', pattern: /^(?<b>zwave[^/]*\/.+?)\/(?<r>(?:\d+|[a-z_]+)\/(?:endpoint_\d+|\d+)\/.+)$/ },
  { preset: 'shelly2', pattern: /^(?<b>.+)\/(?<r>events\/rpc)$/, isOpen: true },
  {
    preset: 'shelly2',
    pattern: new RegExp(`^(?<b>.+)/status/(?<r>(?:${shellyComponents})(?::\\d+)?)$`),
    isOpen: true,
  },
  {
    preset: 'esphome',
    pattern: new RegExp(`^(?<b>.+)/(?:${components})/(?<r>[^/]+)/(?:state|[a-z_]+/state)$`),
    isOpen: true,
  },
]

const sparkplug = /^spBv1\.0\/([^/]+)\/[ND]DATA\/([^/]+)(?:\/([^/]+))?$/

/** Finds the device of a topic, as far as its family tells. */
export class Families {
  readonly #families: readonly TopicFamily[]

  /** @param off Names of presets that are switched off; `all` for all of them */
  constructor(off: readonly string[] = []) {
    this.#families = off.includes('all') ? [] : families.filter(({ preset }) => !off.includes(preset))
  }

  ownerOf(topic: string): TopicOwner | undefined {
    const birth = topic.startsWith('spBv1.0/') ? sparkplug.exec(topic) : undefined
    if (birth) {
      const [, group, edge, device] = birth
      const base = ['spBv1.0', group, edge, ...(device === undefined ? [] : [device])].join('/')
      return { base, family: 'sparkplug', rest: [] }
    }
    for (const { preset, pattern, prefix = '', isOpen } of this.#families) {
      const found = pattern.exec(topic)?.groups
      if (!found) continue
      const rest = found.r?.split('/') ?? []
      const availability = rest.length === 1 ? availabilities[preset]?.[rest[0] as string] : undefined
      const isOwnState = preset === 'zigbee2mqtt' && rest[0] === 'state' && !found.b?.endsWith('/bridge')
      return {
        base: prefix + found.b,
        family: preset,
        rest: rest[0] === 'events' && preset === 'shelly2' ? [] : rest,
        ...(availability && !isOwnState && { availability }),
        ...(isOpen && { isOpen }),
      }
    }
    return undefined
  }

  /** Returns the owner of a topic below the base of a device whose family is known by other topics. */
  below(base: string, family: string, topic: string): TopicOwner {
    const rest = topic.slice(base.length + 1).split('/')
    const availability = rest.length === 1 ? availabilities[family]?.[rest[0] as string] : undefined
    return { base, family, rest, ...(availability && { availability }) }
  }
}

/** Last levels that say nothing of what a value is. */
const generic =
  /^(?:state|value|val|status|current|get|telemetry|tele|data|sensor|sensors|values|attributes|up|event|events|measurement|measurements|json|reading|readings|metrics|uplink|info)$/i

/** Last levels of topics behind the name of a bare value: `…/temperature/state`. */
const behindName = /^(?:state|value|val|current|get)$/i

export const isGeneric = (level: string) => generic.test(level)

/**
 * Returns the owner of a topic of no known family. Bare values are those of the level above; an object is a device, of
 * the level above where its last level is a word such as `telemetry`.
 * @param isBare Whether the readings are one value without a name
 * @param isJoined Whether an object belongs to the level above, where bare values are
 */
export function defaultOwner(topic: string, isBare: boolean, isJoined: boolean): TopicOwner {
  const levels = topic.split('/')
  let keep = levels.length
  const last = levels.at(-1) as string
  if (!isBare) keep -= keep > 1 && (isGeneric(last) || isJoined) ? 1 : 0
  else {
    if (keep > 2 && behindName.test(last)) keep--
    if (keep > 1) keep--
  }
  return { base: levels.slice(0, keep).join('/'), family: undefined, rest: levels.slice(keep) }
}
