import type { HomeControl } from '../../contract/contract.js'
import type { GroupedDevice } from './grouping.js'

/*
 * Controls that follow from the documented topics of a family, where no discovery describes them.
 */

/** Words for on and off are booleans in readings. */
const onOff = (on: string, off: string) => [
  { name: 'On', key: 'on', payload: on, value: true },
  { name: 'Off', key: 'off', payload: off, value: false },
]

const covers = ['open', 'stop', 'close'].map(payload => ({
  name: payload.charAt(0).toUpperCase() + payload.slice(1),
  key: payload,
  payload,
}))

/** Most controls of one device that come from its topics. */
const maxControls = 32

/**
 * Returns the controls of a device: those that are described, and those that its topics show by its family. A described
 * state of which nothing was heard yet is taken from the topic that the family knows, as Tasmota's `stat/…/POWER` comes
 * with changes only.
 */
export function controlsOf(device: GroupedDevice, described: readonly HomeControl[]): readonly HomeControl[] {
  const heard = new Set(device.members.map(({ seen }) => seen.topic))
  const shown = familyControls(device)
  const withStates = described.map(control => {
    if (!control.state || heard.has(control.state.topic)) return control
    const state = shown.find(({ topic, kind }) => topic === control.topic && kind === control.kind)?.state
    return state ? { ...control, state } : control
  })
  const known = new Set(described.map(({ topic }) => topic))
  return [...withStates, ...shown.filter(({ topic }) => !known.has(topic))]
}

/** Returns the controls that the topics of a device show, by its family. */
function familyControls({ base = '', members }: GroupedDevice): readonly HomeControl[] {
  const found = new Map<string, HomeControl>()
  for (const { seen, group, owner } of members) {
    const { topic } = seen
    const make = owner.family === undefined ? undefined : families[owner.family]
    if (!make) continue
    for (const { name: field } of group.shape.fields) {
      const control = make(topic, field, base)
      if (control && !found.has(control.topic) && found.size < maxControls) found.set(control.topic, control)
    }
  }
  return [...found.values()]
}

type Maker = (topic: string, field: string, base: string) => HomeControl | undefined

const relayName = (number: string | undefined) => (number === undefined || number === '' ? 'State' : `Relay ${number}`)

/** Relays of Tasmota: https://tasmota.github.io/docs/Commands/#control */
const tasmota: Maker = (topic, field) => {
  const own = /^(.*?)stat\/(.*)POWER(\d*)$/.exec(topic)
  const inState = /^(.*?)tele\/(.*)STATE$/.exec(topic)
  const number = own ? own[3] : /^POWER(\d*)$/.exec(field)?.[1]
  const [, before, after] = own ?? inState ?? []
  if (before === undefined || after === undefined || number === undefined || (own && field !== 'value'))
    return undefined
  return {
    kind: 'switch',
    ...(number === '' && { key: 'state' }),
    name: relayName(number),
    topic: `${before}cmnd/${after}POWER${number}`,
    options: onOff('ON', 'OFF'),
    state: { topic, field },
  }
}

/** Components of Shelly, first generation: https://shelly-api-docs.shelly.cloud/gen1/#mqtt-support */
const shelly1: Maker = (topic, field) => {
  const [, kind = '', number = ''] = /^shellies\/[^/]+\/(relay|light|color|white|roller)\/(\d+)$/.exec(topic) ?? []
  if (kind === '' || field !== 'value') return undefined
  const state = { topic, field }
  if (kind === 'roller') {
    return { kind: 'choice', name: `Roller ${number}`, topic: `${topic}/command`, options: covers, state }
  }
  return {
    kind: 'switch',
    ...(number === '0' && { key: 'state' }),
    name: number === '0' ? 'State' : `${kind === 'relay' ? 'Relay' : 'Light'} ${number}`,
    topic: `${topic}/command`,
    options: onOff('on', 'off'),
    state,
  }
}

/** Components of Shelly, second generation: https://shelly-api-docs.shelly.cloud/gen2/ComponentsAndServices/Mqtt */
const shelly2: Maker = (topic, field, base) => {
  const ofStatus = /\/status\/(switch|light|cover):(\d+)$/.exec(topic)
  const ofEvent = topic.endsWith('/events/rpc') ? /^(switch|light|cover):(\d+)\.(output|state)$/.exec(field) : null
  const [, kind = '', number = ''] = ofStatus ?? ofEvent ?? []
  const member = ofEvent ? ofEvent[3] : field
  if (kind === '' || member !== (kind === 'cover' ? 'state' : 'output')) return undefined
  const control = { topic: `${base}/command/${kind}:${number}`, state: { topic, field } }
  if (kind === 'cover') return { kind: 'choice', name: `Cover ${number}`, options: covers, ...control }
  const isFirst = number === '0'
  return {
    kind: 'switch',
    ...(isFirst && { key: 'state' }),
    name: isFirst ? 'State' : `${kind === 'switch' ? 'Switch' : 'Light'} ${number}`,
    options: onOff('on', 'off'),
    ...control,
  }
}

const families: Readonly<Record<string, Maker>> = { tasmota, shelly1, shelly2 }
