import type { AlertRow } from '../../alerts/alerts.js'
import type { HomeDevice } from '../../contract/contract.js'
import { isAssignedClientId, parseSeriesKey, requestClientId } from '../../model.js'
import type { Mapping } from '../mapping.js'
import { valueShown } from '../presets/control-values.js'
import type { Registry } from '../registry.js'
import type { GroupedDevice } from './grouping.js'
import type { Rhythms } from './rhythms.js'
import type { TopicBook } from './topic-book.js'

/** The alerts that are not cleared. Implemented by `Alerts`. */
export interface OpenAlerts {
  readonly desk: {
    list(query: { readonly state: 'open'; readonly limit: number; readonly rules: undefined }): {
      readonly alerts: readonly AlertRow[]
    }
  }
}

type FiringSeverity = AlertRow['severity']

/** Alerts that are firing, by topic, and by the name of a device. */
export interface FiringAlerts {
  readonly byTopic: ReadonlyMap<string, readonly FiringSeverity[]>
  readonly byDevice: ReadonlyMap<string, readonly FiringSeverity[]>
}

const maxAlerts = 10_000

export function firingBy(alerts: OpenAlerts, mapping: Pick<Mapping, 'topicOf'>): FiringAlerts {
  const byTopic = new Map<string, FiringSeverity[]>()
  const byDevice = new Map<string, FiringSeverity[]>()
  for (const { series, device, severity, state } of alerts.desk.list({
    state: 'open',
    limit: maxAlerts,
    rules: undefined,
  }).alerts) {
    if (state === 'pending') continue
    const id = parseSeriesKey(series)
    const topic = id && (id.tags.find(([name]) => name === 'topic')?.[1] ?? mapping.topicOf(id))
    const [found, key] = topic === undefined ? [byDevice, device ?? series] : [byTopic, topic]
    const severities = found.get(key)
    if (severities) severities.push(severity)
    else found.set(key, [severity])
  }
  return { byTopic, byDevice }
}

export interface ConditionSources {
  readonly registry: Pick<Registry, 'device'>
  readonly topics: Pick<TopicBook, 'get'>
  readonly firing: FiringAlerts
  readonly rhythms: Pick<Rhythms, 'silence'>
  /** Microseconds. */
  readonly now: number
}

type DeviceCondition = Pick<
  HomeDevice,
  'online' | 'availability' | 'client' | 'lastSeen' | 'usual' | 'silent' | 'alerts' | 'severity'
>

/** Returns how a device is at the moment. */
export function conditionOf(device: GroupedDevice, sources: ConditionSources): DeviceCondition {
  const { registry, now, rhythms, firing } = sources
  let lastSeen = 0
  let usual: number | undefined
  let limit: number | undefined
  const clients = new Set<string>()
  for (const { seen } of device.members) {
    lastSeen = Math.max(lastSeen, seen.lastSeen)
    if (seen.client !== '') clients.add(seen.client)
    // The quickest topic tells soonest that nothing comes any more.
    const { rhythm } = seen
    if (rhythm.usual !== undefined && (usual === undefined || rhythm.usual < usual)) {
      usual = rhythm.usual
      limit = rhythm.limit
    }
  }
  const [client] = clients
  const known = client !== undefined && clients.size === 1 && !isPasser(client) ? registry.device(client) : undefined
  const isSilent = limit !== undefined && rhythms.silence(lastSeen, now) > limit
  const available = availabilityOf(device, sources.topics)
  // A device that connects only to send is not offline between two readings.
  const isResting = known?.online === false && limit !== undefined && !isSilent
  const connected = isResting ? undefined : known?.online
  const online = available?.isOnline !== undefined ? available.isOnline && connected !== false : connected
  const alerts = [...new Set(device.members.map(({ seen }) => seen.topic))].flatMap(
    topic => firing.byTopic.get(topic) ?? [],
  )
  for (const name of namesOf(device, client)) alerts.push(...(firing.byDevice.get(name) ?? []))
  return {
    ...(online !== undefined && { online }),
    ...(available && { availability: available.place }),
    ...(known && { client: known.clientId }),
    lastSeen: lastSeen / 1_000,
    ...(usual !== undefined && { usual: Math.round(usual / 1_000) }),
    ...(isSilent && { silent: true as const }),
    alerts: alerts.length,
    ...(alerts.length > 0 && { severity: worst(alerts) }),
  }
}

/** Whether a client is no device: publishes over HTTP, or has no id of the device's choice. */
function isPasser(client: string): boolean {
  return client.startsWith(requestClientId('')) || isAssignedClientId(client)
}

function namesOf({ described }: GroupedDevice, client: string | undefined): ReadonlySet<string> {
  return new Set([
    ...described.flatMap(({ id, name }) => (name === undefined ? [id] : [id, name])),
    ...(client === undefined ? [] : [client]),
  ])
}

function availabilityOf({ members, described }: GroupedDevice, topics: Pick<TopicBook, 'get'>) {
  for (const { seen, group, owner } of members) {
    if (!owner.availability) continue
    const { online, offline } = owner.availability
    const field = group.shape.fields[0]?.name ?? 'value'
    return available(seen.topic, field, online, offline, seen.only)
  }
  for (const { topic, field, online, offline } of described.flatMap(({ availability = [] }) => availability)) {
    const seen = topics.get(topic)
    if (seen) return available(topic, field, [online], [offline], seen.only)
  }
  return undefined
}

function available(
  topic: string,
  field: string,
  online: readonly string[],
  offline: readonly string[],
  value: string | number | boolean | undefined,
) {
  const text = value === undefined ? undefined : String(value).toLowerCase()
  const is = (words: readonly string[]) => text !== undefined && words.some(word => asShown(word) === text)
  const isOnline = is(online) ? true : is(offline) ? false : undefined
  const shown = (words: readonly string[]) => words.map(word => valueShown(word))
  return { place: { topic, field, online: shown(online), offline: shown(offline) }, isOnline }
}

const asShown = (word: string) => String(valueShown(word)).toLowerCase()

const severities: readonly FiringSeverity[] = ['critical', 'warning', 'info']

function worst(alerts: readonly FiringSeverity[]): FiringSeverity {
  return severities.find(severity => alerts.includes(severity)) ?? 'info'
}
