import { environmentValue } from '../config/config.js'
import {
  duration,
  type Environment,
  entryName,
  entryNameAllowed,
  type InletSetting,
  integer,
  readEntries,
  SettingFields,
  type SettingKind,
  type Settings,
} from '../config/settings.js'
import type { QoS } from '../model.js'
import { readAddress } from '../remote/address.js'
import type { RemoteAddress, RemoteFilter } from '../remote/remote-broker.js'
import { isTopicFilter } from '../topics.js'

/** Topics of the other broker, and what they are called here. */
export interface InletTopics extends RemoteFilter {
  /** Beginning of the topic that is taken away; topics that do not begin with it are not taken. */
  readonly strip: string
  /** Text that is put before the topic. */
  readonly prefix: string
}

/** One inlet of the settings, checked. */
export interface InletPlan {
  readonly name: string
  /** The broker for people, without any secret. */
  readonly shown: string
  /** The client id is empty where the settings name none. */
  readonly address: RemoteAddress
  /** The first that matches a topic decides. */
  readonly topics: readonly InletTopics[]
  /** The user of this hub by whose rules messages are published; empty: everything may be published. */
  readonly user: string
  /** How long the other broker keeps the session, in milliseconds. */
  readonly sessionMs: number
}

/** Returns the mistakes of the inlets in the settings, a line each. */
export function inletMistakes(settings: Settings): readonly string[] {
  const { inlets, faults } = readInlets(settings.inlets, environmentValue)
  if (settings['auth.file'] === '') return faults
  const nobody = inlets.filter(({ user }) => user === '')
  const sentence = 'missing, and there are users: name the one by whose rules messages of the inlet are published'
  return [...faults, ...nobody.map(({ name }) => `inlets: ${name}.user: ${sentence}`)]
}

/** Reads the inlets of the settings. Returns all mistakes, a line each, none of which shows a secret. */
export function readInlets(
  settings: readonly InletSetting[],
  environment: Environment,
): { readonly inlets: readonly InletPlan[]; readonly faults: readonly string[] } {
  const { plans, faults } = readEntries('inlets', settings, environment, readInlet)
  return { inlets: plans, faults }
}

const session: SettingKind<number> = {
  allowed: 'a time from 1m to 365d',
  parse: given => {
    const ms = duration.parse(given)
    return ms !== undefined && ms >= 60_000 && ms <= 365 * 864e5 ? ms : undefined
  },
}

function readInlet(fields: SettingFields): InletPlan {
  const name = fields.text('name', entryNameAllowed, entryName)
  const plan = {
    name,
    ...readAddress(fields),
    topics: readTopics(fields),
    user: fields.text('user', 'the name of a user of this hub', /^[^\0]+$/, false),
    sessionMs: fields.value('session', session, 7 * 864e5),
  }
  fields.end()
  return plan
}

function readTopics(fields: SettingFields): readonly InletTopics[] {
  const given = fields.raw('topics')
  const allowed = 'a list of topic filters, or of maps with filter, qos, strip and prefix'
  if (!Array.isArray(given) || given.length === 0 || given.length > 100) {
    fields.fault('topics', `allowed is ${allowed}`)
    return []
  }
  return given.map((one: unknown, i) => {
    const place = `${fields.placeOf('topics')}, number ${i + 1}`
    const map = new SettingFields(typeof one === 'string' ? { filter: one } : one, place, fields.reading)
    const filter = map.text('filter', 'a topic filter')
    if (filter !== '' && (!isTopicFilter(filter) || filter.startsWith('$')))
      map.fault('filter', `given ${JSON.stringify(filter)}, allowed is a topic filter of topics without $`)
    const topics = {
      filter,
      qos: map.value('qos', integer(0, 2), 1) as QoS,
      strip: map.text('strip', 'the beginning of topics', /^[^+#\0]+$/, false),
      prefix: map.text('prefix', 'the beginning of topics', /^[^+#\0$][^+#\0]*$/, false),
    }
    map.end()
    return topics
  })
}
