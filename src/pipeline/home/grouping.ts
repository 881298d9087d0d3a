import { mayRead, type ReadRules } from '../../access/rules.js'
import type { Tags } from '../../model.js'
import { Slices } from '../../runtime/slices.js'
import type { Knowledge } from '../knowledge.js'
import type { DeviceDescription } from '../presets/preset.js'
import { defaultOwner, type Families, type TopicOwner } from './families.js'
import type { SeenGroup, SeenTopic, TopicBook } from './topic-book.js'

/** A part of what a topic has that belongs to one device. */
export interface DeviceMember {
  readonly seen: SeenTopic
  readonly group: SeenGroup
  readonly owner: TopicOwner
  /** Fields that are the device's. Undefined: all but `others`. */
  readonly fields: ReadonlySet<string> | undefined
  readonly others: ReadonlySet<string> | undefined
}

/** Topics and descriptions of one device. */
export interface GroupedDevice {
  readonly id: string
  /** Names by which an edit may know the device, from before it was described. */
  readonly aliases: readonly string[]
  readonly base: string | undefined
  readonly family: string | undefined
  readonly members: readonly DeviceMember[]
  readonly described: readonly DeviceDescription[]
  /** Name and area that a rule of the mapping, or fields of the payload, give by tags. */
  readonly tagged: { readonly name?: string | undefined; readonly area?: string | undefined }
}

export interface Grouping {
  readonly devices: ReadonlyMap<string, GroupedDevice>
  /** The devices of each topic. */
  readonly byTopic: ReadonlyMap<string, readonly GroupedDevice[]>
}

interface MutableDevice {
  readonly bases: BaseNode[]
  readonly described: DescribedNode[]
}

interface BaseNode {
  readonly base: string
  family: string | undefined
  readonly members: DeviceMember[]
  readonly tagged: GroupedDevice['tagged']
  parent: Node | undefined
}

interface DescribedNode {
  readonly id: string
  /** The user who described the device. */
  readonly user: string
  readonly device: DeviceDescription
  readonly members: DeviceMember[]
  parent: Node | undefined
}

type Node = BaseNode | DescribedNode

/** Sources of descriptions, those that know a device best first: the first one names it. */
const sources = ['zigbee2mqtt', 'tasmota', 'shelly', 'homie', 'homeassistant', 'homeassistant-statestream']

/** Bare values below one level that make objects beside them part of the same device; and most that are one device. */
const bareOfOne = 2
const bareOfMost = 250

/** Most descriptions of one topic that are told apart. */
const maxOfTopic = 500

const deviceTags = ['device', 'machine', 'sensor', 'thing', 'node', 'name', 'id', 'asset']
const areaTags = ['room', 'area', 'line', 'zone', 'location', 'building', 'hall', 'site']

/** Finds out which topics belong to one device. In slices, so that other work of the thread gets its turns. */
export async function groupDevices(
  book: TopicBook,
  knowledge: Pick<Knowledge, 'speaking' | 'speaksFor'>,
  families: Families,
): Promise<Grouping> {
  const slices = new Slices()
  const described = await describedNodes(knowledge, slices)
  const anchors = new Map<string, string>()
  for (const { device } of described) if (device.base !== undefined) anchors.set(device.base, device.source)

  // First pass: what families know, and how many bare values each level has.
  const all = [...book.all()]
  const owners = new Map<SeenTopic, TopicOwner>()
  const bare = new Map<string, number>()
  for (const seen of all) {
    if (slices.isOver) await slices.turn()
    const owner = families.ownerOf(seen.topic)
    if (owner) {
      owners.set(seen, owner)
      if (owner.isOpen) anchors.set(owner.base, owner.family as string)
    } else if (isBare(seen)) {
      const { base } = defaultOwner(seen.topic, true, false)
      bare.set(base, (bare.get(base) ?? 0) + 1)
    }
  }

  // Second pass: the device of each topic.
  const bases = new Map<string, BaseNode>()
  const baseOf = (base: string, family: string | undefined, tagged: GroupedDevice['tagged'] = {}) => {
    let node = bases.get(base)
    if (!node) {
      node = { base, family, members: [], tagged, parent: undefined }
      bases.set(base, node)
    }
    node.family ??= family
    return node
  }
  const claims = claimsOf(described)
  for (const seen of all) {
    if (slices.isOver) await slices.turn()
    const known = owners.get(seen)
    const anchor = anchorOf(seen.topic, anchors)
    const owner =
      anchor !== undefined && (!known || (known.base !== anchor && anchor.length > known.base.length))
        ? families.below(anchor, anchors.get(anchor) as string, seen.topic)
        : (known ?? plainOwner(seen, bare))
    for (const group of seen.groups) {
      const tagged = owner.family === undefined ? taggedBy(group.tags, seen) : undefined
      const base = tagged?.base ?? owner.base
      const node = baseOf(base, owner.family, tagged)
      const claimed = claims.get(seen.topic)
      if (!claimed) {
        node.members.push({ seen, group, owner, fields: undefined, others: undefined })
        continue
      }
      claim(claimed, node, { seen, group, owner })
    }
  }
  for (const node of described) {
    const base = node.device.base
    if (base === undefined) continue
    const known = baseOf(base, node.device.source)
    // A user who may describe devices does not describe those of others.
    const mayJoin =
      known.members.length === 0 || known.members.some(({ seen }) => knowledge.speaksFor(node.user, seen.topic))
    if (mayJoin) join(node, known)
  }
  return collected([...bases.values()], described, slices)
}

async function describedNodes(
  knowledge: Pick<Knowledge, 'speaking' | 'speaksFor'>,
  slices: Slices,
): Promise<DescribedNode[]> {
  const nodes: DescribedNode[] = []
  const ids = new Set<string>()
  for (const [user, device] of knowledge.speaking()) {
    if (slices.isOver) await slices.turn()
    const own = `${device.source}:${device.id}`
    const id = ids.has(own) ? `${own}@${user}` : own
    ids.add(id)
    nodes.push({ id, user, device, members: [], parent: undefined })
  }
  return nodes
}

/** Returns the descriptions of each topic, by source, with the fields of each. */
type Claims = Map<string, Map<string, Map<DescribedNode, Set<string>>>>

function claimsOf(described: readonly DescribedNode[]): Claims {
  const claims: Claims = new Map()
  for (const node of described) {
    // A topic of the availability is no claim: that of a gateway is named by all its devices.
    for (const { topic, field } of node.device.entities) {
      const bySource = claims.get(topic) ?? new Map<string, Map<DescribedNode, Set<string>>>()
      claims.set(topic, bySource)
      const nodes = bySource.get(node.device.source) ?? new Map<DescribedNode, Set<string>>()
      bySource.set(node.device.source, nodes)
      if (nodes.size >= maxOfTopic) continue
      const fields = nodes.get(node) ?? new Set<string>()
      fields.add(field)
      nodes.set(node, fields)
    }
  }
  return claims
}

/** Gives a described topic to the devices that it is of. */
function claim(
  bySource: Map<string, Map<DescribedNode, Set<string>>>,
  base: BaseNode,
  what: Pick<DeviceMember, 'seen' | 'group' | 'owner'>,
): void {
  const shared = [...bySource.values()].find(nodes => nodes.size > 1)
  if (!shared) {
    base.members.push({ ...what, fields: undefined, others: undefined })
    for (const nodes of bySource.values()) for (const node of nodes.keys()) join(node, base)
    return
  }
  // Several devices of one gateway on one topic: each has its fields, and the rest is the gateway's.
  const others = new Set<string>()
  for (const [node, fields] of shared) {
    for (const field of fields) others.add(field)
    node.members.push({ ...what, fields, others: undefined })
  }
  base.members.push({ ...what, fields: undefined, others })
}

function isBare({ groups }: SeenTopic): boolean {
  const [group] = groups
  return groups.length === 1 && group !== undefined && group.shape.fields.every(({ name }) => name === 'value')
}

function plainOwner(seen: SeenTopic, bare: ReadonlyMap<string, number>): TopicOwner {
  const { topic } = seen
  if (isBare(seen)) {
    const parent = topic.slice(0, Math.max(0, topic.lastIndexOf('/')))
    // `…/press/state` beside `…/press/speed` is the state of the press.
    const isBeside = (bare.get(parent) ?? 0) > 0
    const owner = isBeside
      ? { base: parent, family: undefined, rest: [lastOf(topic)] }
      : defaultOwner(topic, true, false)
    const isList = (bare.get(owner.base) ?? 0) > bareOfMost
    return isList ? { base: topic, family: undefined, rest: [] } : owner
  }
  const parent = topic.slice(0, Math.max(0, topic.lastIndexOf('/')))
  const beside = bare.get(parent) ?? 0
  return defaultOwner(topic, false, beside >= bareOfOne && beside <= bareOfMost)
}

const lastOf = (topic: string) => topic.slice(topic.lastIndexOf('/') + 1)

/** Returns the longest base above a topic, or equal to it. */
function anchorOf(topic: string, anchors: ReadonlyMap<string, string>): string | undefined {
  if (anchors.size === 0) return undefined
  for (let end = topic.length; end > 0; end = topic.lastIndexOf('/', end - 1)) {
    const above = topic.slice(0, end)
    if (anchors.has(above)) return above
  }
  return undefined
}

/** Returns the device that tags name: those of a rule of the mapping, or those that tell devices of a topic apart. */
function taggedBy(tags: Tags, { topic, groups }: SeenTopic) {
  const named = new Map(tags)
  const first = (names: readonly string[]) => names.map(name => named.get(name)).find(value => value !== undefined)
  const name = first(deviceTags)
  const area = first(areaTags)
  if (groups.length > 1) {
    const telling = tags.filter(([tag]) => tag !== 'topic' && tag !== 'publisher')
    const text = telling.map(([tag, value]) => `${tag}=${value}`).join(',')
    return { base: `${topic} ${text}`, name: telling.map(([, value]) => value).join(' ') || undefined, area }
  }
  if (name === undefined) return area === undefined ? undefined : { base: undefined, name, area }
  return { base: area === undefined ? name : `${area}/${name}`, name, area }
}

function rootOf(node: Node): Node {
  let root = node
  while (root.parent) root = root.parent
  // The way is shortened for the next one who goes it.
  for (let one = node; one !== root; ) {
    const next = one.parent as Node
    one.parent = root
    one = next
  }
  return root
}

function join(one: Node, other: Node): void {
  const [a, b] = [rootOf(one), rootOf(other)]
  if (a !== b) a.parent = b
}

async function collected(
  bases: readonly BaseNode[],
  described: readonly DescribedNode[],
  slices: Slices,
): Promise<Grouping> {
  const found = new Map<Node, MutableDevice>()
  const partsOf = (node: Node) => {
    const root = rootOf(node)
    let parts = found.get(root)
    if (!parts) {
      parts = { bases: [], described: [] }
      found.set(root, parts)
    }
    return parts
  }
  for (const node of bases) partsOf(node).bases.push(node)
  for (const node of described) partsOf(node).described.push(node)
  const devices = new Map<string, GroupedDevice>()
  const byTopic = new Map<string, GroupedDevice[]>()
  for (const parts of found.values()) {
    if (slices.isOver) await slices.turn()
    const device = deviceOf(parts, devices)
    if (!device) continue
    devices.set(device.id, device)
    for (const { seen } of device.members) {
      const known = byTopic.get(seen.topic)
      if (!known) byTopic.set(seen.topic, [device])
      else if (!known.includes(device)) known.push(device)
    }
  }
  return { devices, byTopic }
}

function deviceOf(parts: MutableDevice, taken: ReadonlyMap<string, unknown>): GroupedDevice | undefined {
  const described = [...parts.described].sort(
    (a, b) => rankOf(a.device.source) - rankOf(b.device.source) || (a.id < b.id ? -1 : 1),
  )
  const bases = [...parts.bases].sort((a, b) => (a.base < b.base ? -1 : 1))
  const members = [...bases, ...described].flatMap(node => node.members).filter(hasFields)
  if (members.length === 0 && described.length === 0) return undefined
  const names = [...described.map(({ id }) => id), ...bases.map(({ base }) => base)]
  const [first = ''] = names
  const [base] = bases
  return {
    id: taken.has(first) ? `${first} ` : first,
    aliases: names.slice(1),
    base: base?.base,
    family: described[0]?.device.source ?? bases.find(({ family }) => family !== undefined)?.family,
    members,
    described: described.map(({ device }) => device),
    tagged: bases.find(({ tagged }) => tagged.name !== undefined || tagged.area !== undefined)?.tagged ?? {},
  }
}

const hasFields = ({ group, fields, others }: DeviceMember) =>
  group.shape.fields.some(({ name }) => (fields ? fields.has(name) : !others?.has(name)))

function rankOf(source: string): number {
  const rank = sources.indexOf(source)
  return rank < 0 ? sources.length : rank
}

/** Returns the part of a device that the rules let somebody read: the device itself if all of it. Undefined: nothing. */
export function readablePart(device: GroupedDevice, rules: ReadRules): GroupedDevice | undefined {
  const topics = device.members.map(({ seen }) => seen.topic)
  const own = device.described.flatMap(({ entities }) => entities.map(({ topic }) => topic))
  const may = new Map([...topics, ...own].map(topic => [topic, mayRead(rules, topic)]))
  const allowed = [...may.values()].filter(Boolean).length
  if (allowed === 0) return undefined
  if (allowed === may.size) return device
  return {
    ...device,
    members: device.members.filter(({ seen }) => may.get(seen.topic)),
    described: device.described.map(one => ({ ...one, entities: one.entities.filter(({ topic }) => may.get(topic)) })),
  }
}
