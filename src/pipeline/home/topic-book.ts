import { getHeapStatistics } from 'node:v8'
import { Rhythm } from '../../alerts/alerts.js'
import { type FieldType, type FieldValue, fieldType, type Point, type Reading, type Tags } from '../../model.js'

/** A field of the readings of a topic, by its name in the payload and the type of its values. */
export interface SeenField {
  readonly name: string
  readonly type: FieldType
}

const bits: Readonly<Record<FieldType, number>> = { number: 1, boolean: 2, text: 4 }

/**
 * The fields that were seen together. Topics of the same kind of device have the same fields, so they share one of
 * these: the new fields of a reading lead to another shape, which is made once.
 */
export class Shape {
  readonly fields: readonly SeenField[]
  readonly #types: ReadonlyMap<string, number>
  /** Shapes with more fields, by these. Undefined where this shape is one topic's own. */
  readonly #next: Map<string, Shape> | undefined

  constructor(fields: readonly SeenField[], isShared: boolean) {
    this.fields = fields
    const types = new Map<string, number>()
    for (const { name, type } of fields) types.set(name, (types.get(name) ?? 0) | bits[type])
    this.#types = types
    if (isShared) this.#next = new Map()
  }

  /** Number of names. */
  get size(): number {
    return this.#types.size
  }

  /** Whether other topics may have the same shape. */
  get isShared(): boolean {
    return this.#next !== undefined
  }

  has(name: string, type: FieldType): boolean {
    return ((this.#types.get(name) ?? 0) & bits[type]) !== 0
  }

  /** Returns the shape with more fields, and whether it was made for this. */
  with(added: readonly SeenField[]): { readonly shape: Shape; readonly isNew: boolean } {
    const key = added.map(({ name, type }) => `${type} ${name}`).join('\n')
    const known = this.#next?.get(key)
    if (known) return { shape: known, isNew: false }
    const isShared = this.#next !== undefined && this.#next.size < maxBranches
    const shape = new Shape([...this.fields, ...added], isShared)
    if (isShared) this.#next?.set(key, shape)
    return { shape, isNew: true }
  }
}

/** Shapes that lead on from one. Topics with ever new fields share none. */
const maxBranches = 200

/**
 * Most fields of all shapes together. Each takes some 100 bytes; beyond it new fields are not in the catalogue. A device
 * that sends ever new names must not take the memory of this thread.
 */
const maxShapeFields = Math.floor(getHeapStatistics().heap_size_limit / 12 / 100)

/** The fields of one measurement and tag set on a topic. */
export interface SeenGroup {
  readonly measurement: string
  readonly tags: Tags
  shape: Shape
}

/** Most fields of a group, groups of a topic, and points of a reading that are looked at. */
const maxFields = 500
const maxGroups = 200
const maxPoints = 200
/** Most groups beyond the first of each topic, in all. */
const maxMoreGroups = 50_000

/** A topic with readings, and the fields and the rhythm that were seen there. Times in microseconds. */
export class SeenTopic {
  readonly topic: string
  readonly groups: SeenGroup[] = []
  readonly rhythm = new Rhythm()
  client = ''
  lastSeen = 0
  /** Whether the newest reading was late, or its time was not believed. */
  isLate = false
  /** The value of the newest reading that has one alone. */
  only: FieldValue | undefined

  constructor(topic: string) {
    this.topic = topic
  }

  /** Whether some points have values of all fields that were seen on the topic. */
  isWhole(points: readonly Point[]): boolean {
    return this.groups.every(({ measurement, tags, shape }) =>
      points.some(
        point =>
          point.fields.length >= shape.size &&
          point.measurement === measurement &&
          (point.tags === tags || isSame(point.tags, tags)),
      ),
    )
  }
}

/** A reading as it was pushed, with the client that sent it. */
export interface KnownReading {
  readonly topic: string
  readonly client: string
  /** Milliseconds since the epoch. */
  readonly received: number
  readonly values: readonly {
    readonly measurement: string
    readonly tags: Readonly<Record<string, string>>
    readonly field: string
    readonly value: FieldValue
  }[]
}

/** Is told of topics whose fields have changed. */
export interface TopicFollower {
  topicChanged(seen: SeenTopic): void
  topicGone(topic: string): void
}

/** The topics with readings, with the fields that were seen on each: what the catalogue of devices is made of. */
export class TopicBook {
  readonly #topics = new Map<string, SeenTopic>()
  readonly #root = new Shape([], true)
  #moreGroups = 0
  /** Fields of all shapes: those that are shared, and the own ones of topics. */
  #shapeFields = 0
  #follower: TopicFollower | undefined

  reportTo(follower: TopicFollower): void {
    this.#follower = follower
  }

  get size(): number {
    return this.#topics.size
  }

  get(topic: string): SeenTopic | undefined {
    return this.#topics.get(topic)
  }

  all(): IterableIterator<SeenTopic> {
    return this.#topics.values()
  }

  /** Takes the newest reading of a topic. Called for each that the screen gets: costs little when nothing is new. */
  observe(topic: string, { message, points, quality }: Reading): void {
    const seen = this.#seen(topic)
    if (seen.lastSeen > 0) seen.rhythm.take(message.receivedAt - seen.lastSeen)
    seen.lastSeen = message.receivedAt
    seen.client = message.clientId
    seen.isLate = quality === 'late' || quality === 'clock'
    const [first] = points
    seen.only = points.length === 1 && first?.fields.length === 1 ? shortened(first.fields[0]?.[1]) : undefined
    let isNew = false
    for (const [i, { measurement, tags, fields }] of points.entries()) {
      if (i >= maxPoints) break
      const group = this.#group(seen, measurement, tags)
      if (!group) continue
      isNew = this.#see(group, fields) || isNew
    }
    if (isNew) this.#follower?.topicChanged(seen)
  }

  /** Takes what is known of a topic from before the start. */
  restore({ topic, received, client, values }: KnownReading): SeenTopic {
    const isKnown = this.#topics.has(topic)
    const seen = this.#seen(topic)
    const fieldsOf = new Map<SeenGroup, (readonly [name: string, value: FieldValue])[]>()
    for (const { measurement, tags, field, value } of values) {
      const sorted = Object.entries(tags).sort(([a], [b]) => (a < b ? -1 : 1))
      const group = this.#group(seen, measurement, sorted)
      if (!group) continue
      const fields = fieldsOf.get(group)
      if (fields) fields.push([field, value])
      else fieldsOf.set(group, [[field, value]])
    }
    for (const [group, fields] of fieldsOf) this.#see(group, fields)
    if (!isKnown) {
      seen.lastSeen = received * 1_000
      seen.client = client
      seen.only = values.length === 1 ? shortened(values[0]?.value) : undefined
    }
    this.#follower?.topicChanged(seen)
    return seen
  }

  /** Called when something else than its fields has changed about a topic. */
  changed(topic: string): void {
    const seen = this.#topics.get(topic)
    if (seen) this.#follower?.topicChanged(seen)
  }

  forget(topic: string): void {
    const seen = this.#topics.get(topic)
    if (!seen) return
    this.#moreGroups -= Math.max(0, seen.groups.length - 1)
    for (const { shape } of seen.groups) this.#giveUp(shape)
    this.#topics.delete(topic)
    this.#follower?.topicGone(topic)
  }

  #seen(topic: string): SeenTopic {
    let seen = this.#topics.get(topic)
    if (!seen) {
      seen = new SeenTopic(topic)
      this.#topics.set(topic, seen)
    }
    return seen
  }

  /** Notes the fields of a reading. Returns whether there are new ones. */
  #see(group: SeenGroup, fields: Point['fields']): boolean {
    const before = group.shape
    if (fields.every(([name, value]) => before.has(name, fieldType(value)))) return false
    const room = Math.min(maxFields, maxShapeFields - this.#shapeFields) - before.fields.length
    const added: SeenField[] = []
    for (const [name, value] of fields) {
      if (added.length >= room) break
      const type = fieldType(value)
      if (!before.has(name, type)) added.push({ name, type })
    }
    if (added.length === 0) return false
    const { shape, isNew } = before.with(added)
    if (isNew) this.#shapeFields += shape.fields.length
    this.#giveUp(before)
    group.shape = shape
    return true
  }

  #giveUp({ isShared, fields }: Shape): void {
    if (!isShared) this.#shapeFields -= fields.length
  }

  #group(seen: SeenTopic, measurement: string, tags: Tags): SeenGroup | undefined {
    for (const group of seen.groups) {
      // The tags of a topic are one object as long as the mapping remembers them.
      if (group.measurement === measurement && (group.tags === tags || isSame(group.tags, tags))) return group
    }
    if (seen.groups.length > 0) {
      if (seen.groups.length >= maxGroups || this.#moreGroups >= maxMoreGroups) return undefined
      this.#moreGroups++
    }
    const group = { measurement, tags, shape: this.#root }
    seen.groups.push(group)
    return group
  }
}

function isSame(one: Tags, other: Tags): boolean {
  return (
    one.length === other.length && one.every(([name, value], i) => name === other[i]?.[0] && value === other[i]?.[1])
  )
}

/** Longest text that is remembered of a reading: words such as `online`. */
const maxOnly = 40

function shortened(value: FieldValue | undefined): FieldValue | undefined {
  return typeof value === 'string' && value.length > maxOnly ? undefined : value
}
