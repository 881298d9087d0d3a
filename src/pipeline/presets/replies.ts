import { isMembers, type Members, memberAt } from '../decoders/members.js'
import type { EntityDescription } from './preset.js'

/*
 * How the families of devices answer commands: on which topics, and which of the messages there says that the command
 * was carried out. A report that comes by chance, with another value than the one commanded, is no answer.
 */

/** How one command is answered. */
export interface ReplyPlan {
  /** Name of the preset. */
  readonly family: string
  /** Topics on which the answer comes. The last level may be `+`. */
  readonly topics: readonly string[]
  /** Returns whether a message says that the command was carried out, or that it failed; undefined for any other. */
  judge(topic: string, payload: string): 'good' | 'bad' | undefined
}

/** A command, as far as the answer depends on it. */
interface Commanded {
  readonly topic: string
  readonly text: string
  /** The payload as JSON; the text where it is none. */
  readonly value: unknown
  readonly levels: readonly string[]
}

/**
 * Returns how many levels of a command's topic name the device, at least: a subscription with fewer before a wildcard only
 * watches.
 */
export function deviceLevels(topic: string): number {
  return /^(?:cmnd|shellies)\//.test(topic) ? 2 : 1
}

type Family = (command: Commanded) => ReplyPlan | undefined

/** Longest payload that is looked at. */
const looked = 65_536

/** Finds how a command to a topic is answered. */
export function replyPlan(
  topic: string,
  payload: Uint8Array,
  described: (commandTopic: string) => EntityDescription | undefined,
  off: readonly string[] = [],
): ReplyPlan | undefined {
  if (off.includes('all')) return undefined
  const text = payload.length > looked ? '' : Buffer.from(payload).toString('utf8').trim()
  const command = { topic, text, value: parsed(text), levels: topic.split('/') }
  for (const family of families) {
    const plan = family(command)
    if (plan && !off.includes(plan.family)) return plan
  }
  const entity = off.includes('homeassistant-discovery') ? undefined : described(topic)
  return entity && byDescription(command, entity)
}

// — Zigbee2MQTT: https://www.zigbee2mqtt.io/guide/usage/mqtt_topics_and_messages.html —

/** Members of a command that say how, and not what; they are in no state. */
const manner = ['transition', 'read', 'on_time', 'off_wait_time']

const zigbee2mqtt: Family = ({ topic, text, value }) => {
  const request = /^(.+)\/bridge\/request\/(.+)$/.exec(topic)
  if (request) {
    const [, base = '', path = ''] = request
    const transaction = isMembers(value) ? value.transaction : undefined
    const judge = (_: string, payload: string) => {
      const said = parsed(payload)
      if (!isMembers(said) || (transaction !== undefined && said.transaction !== transaction)) return undefined
      return said.status === 'ok' ? 'good' : said.status === 'error' ? 'bad' : undefined
    }
    return { family: 'zigbee2mqtt', topics: [`${base}/bridge/response/${path}`], judge }
  }
  const [, base, name = '', verb, attribute] = /^(zigbee2mqtt[^/]*)\/(.+?)\/(set|get)(?:\/([^/]+))?$/.exec(topic) ?? []
  if (base === undefined) return undefined
  const asked = attribute === undefined ? value : { [attribute]: value }
  const members: Members = isMembers(asked) ? asked : text === '' ? {} : { state: text }
  const wanted = Object.entries(members).filter(([key]) => !manner.includes(key))
  const state = `${base}/${name}`
  const judge = (from: string, payload: string) => {
    const said = parsed(payload)
    if (!isMembers(said)) return undefined
    if (from !== state) {
      const isAbout = String(said.message).includes(`'${name}'`)
      return said.level === 'error' && isAbout ? 'bad' : undefined
    }
    const there = wanted.filter(([key]) => Object.hasOwn(said, key))
    const isSo = there.every(([key, one]) => verb === 'get' || agrees(one, said[key]))
    return there.length > 0 && isSo ? 'good' : undefined
  }
  return { family: 'zigbee2mqtt', topics: [state, `${base}/bridge/logging`, `${base}/bridge/log`], judge }
}

// — Tasmota: https://tasmota.github.io/docs/MQTT/ —

const withoutNumber = (name: string) => name.toUpperCase().replace(/\d+$/, '')

const tasmota: Family = ({ topic, text }) => {
  const [, device, name = ''] = /^cmnd\/(.+)\/([^/]+)$/.exec(topic) ?? []
  const [, before, after = ''] = /^(.+)\/cmnd\/([^/]+)$/.exec(topic) ?? []
  if (device === undefined && before === undefined) return undefined
  const stat = device === undefined ? `${before}/stat` : `stat/${device}`
  const command = withoutNumber(device === undefined ? after : name)
  const isPower = command === 'POWER'
  // 2 is TOGGLE, 3 and 4 are blinking.
  const isSo = (said: unknown) => !isPower || text === '' || /^[234]$/.test(text) || agrees(text, said)
  const judge = (from: string, payload: string) => {
    const last = withoutNumber(from.slice(stat.length + 1))
    const said = parsed(payload)
    if (last === command) {
      const value = isMembers(said) ? Object.values(said)[0] : said
      return isSo(value) ? 'good' : undefined
    }
    if (last !== 'RESULT' || !isMembers(said)) return undefined
    if (said.Command === 'Unknown' || said.Command === 'Error') return 'bad'
    if (command === 'BACKLOG') return 'good'
    const found = Object.entries(said).find(([key]) => withoutNumber(key) === command)
    return found && isSo(found[1]) ? 'good' : undefined
  }
  return { family: 'tasmota', topics: [`${stat}/+`], judge }
}

// — Shelly, first generation: https://shelly-api-docs.shelly.cloud/gen1/#mqtt-support —

const shelly1: Family = ({ topic, text, value }) => {
  const [, device, component] = /^(shellies\/[^/]+)(?:\/(.+?))?\/(?:command|set)(?:\/[^/]+)?$/.exec(topic) ?? []
  if (device === undefined) return undefined
  const attribute = /\/command\/([^/]+)$/.exec(topic)?.[1]
  if (component === undefined) {
    const topics = text === 'announce' ? [`${device}/announce`] : []
    return { family: 'shelly1', topics, judge: () => 'good' }
  }
  const state = `${device}/${component}`
  const { turn, ...others } = isMembers(value) ? value : { turn: value }
  const judge = (_: string, payload: string) => {
    const said = parsed(payload)
    if (!isMembers(said)) return agrees(isMembers(value) ? turn : value, said) ? 'good' : undefined
    const isOn = turn === undefined || agrees(turn, said.ison ?? turn)
    const isSo = Object.entries(others).every(([key, one]) => !Object.hasOwn(said, key) || agrees(one, said[key]))
    return isOn && isSo ? 'good' : undefined
  }
  const topics = attribute === undefined ? [state, `${state}/status`] : [`${state}/${attribute}`]
  return { family: 'shelly1', topics, judge }
}

// — Shelly, from the second generation on: https://shelly-api-docs.shelly.cloud/gen2/ComponentsAndServices/Mqtt —

const shelly2: Family = ({ topic, text, value, levels }) => {
  const [, component] = /^.+\/command\/((?:switch|cover|light|rgb|rgbw|cct):\d+)$/.exec(topic) ?? []
  if (component !== undefined) {
    const device = levels.slice(0, -2).join('/')
    const [verb = ''] = text.split(',')
    const judge = (_: string, payload: string) => {
      const said = parsed(payload)
      if (!isMembers(said)) return undefined
      return !Object.hasOwn(said, 'output') || agrees(verb, said.output) ? 'good' : undefined
    }
    return { family: 'shelly2', topics: [`${device}/status/${component}`], judge }
  }
  if (!topic.endsWith('/rpc') || !isMembers(value)) return undefined
  const { id, src, method } = value
  if (typeof src !== 'string' || id === undefined || typeof method !== 'string') return undefined
  const judge = (_: string, payload: string) => {
    const said = parsed(payload)
    if (!isMembers(said) || said.id !== id) return undefined
    return 'error' in said ? 'bad' : 'result' in said ? 'good' : undefined
  }
  return { family: 'shelly2', topics: [`${src}/rpc`], judge }
}

// — ESPHome: https://esphome.io/components/mqtt/ —

const esphome: Family = ({ topic, value }) => {
  const [, state] =
    /^(.+\/(?:climate|cover|fan|light|lock|number|select|switch|text|valve)\/.+)\/command$/.exec(topic) ?? []
  if (state === undefined || /^(?:cmnd|shellies)\//.test(topic)) return undefined
  const judge = (_: string, payload: string) => (isAsWanted(value, parsed(payload)) ? 'good' : undefined)
  return { family: 'esphome', topics: [`${state}/state`], judge }
}

const families: readonly Family[] = [zigbee2mqtt, tasmota, shelly1, shelly2, esphome]

// — what a description says: https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery —

function byDescription({ value }: Commanded, { topic, field }: EntityDescription): ReplyPlan {
  const judge = (_: string, payload: string) => {
    const said = parsed(payload)
    const found = isMembers(said) ? memberAt(said, field) : undefined
    return isAsWanted(value, found ? found.of[found.key] : said) ? 'good' : undefined
  }
  return { family: 'homeassistant-discovery', topics: [topic], judge }
}

// — values —

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text.trim()
  }
}

/** Returns whether a state is the one commanded: the same value, or the same members as far as both have them. */
function isAsWanted(wanted: unknown, said: unknown): boolean {
  if (!isMembers(said)) return !isMembers(wanted) && agrees(wanted, said)
  const members = isMembers(wanted) ? wanted : { state: wanted }
  const there = Object.entries(members).filter(([key]) => Object.hasOwn(said, key))
  return there.length > 0 && there.every(([key, one]) => agrees(one, said[key]))
}

/** Returns whether a device says the value that was commanded, in its own way of writing. */
function agrees(wanted: unknown, said: unknown): boolean {
  if (wanted === undefined || wanted === null || wanted === '' || isMembers(wanted)) return true
  const word = wordOf(wanted)
  if (word === 'toggle') return true
  if (word === wordOf(said)) return true
  const [a, b] = [Number(wanted), Number(said)]
  // Devices round what they are told.
  return word !== '' && String(said) !== '' && Math.abs(a - b) <= Math.max(0.01, Math.abs(a) / 100)
}

const sameWords: Readonly<Record<string, string>> = { true: 'on', 1: 'on', false: 'off', 0: 'off' }

function wordOf(value: unknown): string {
  const word = String(value).toLowerCase()
  return Object.hasOwn(sameWords, word) ? (sameWords[word] as string) : word
}
