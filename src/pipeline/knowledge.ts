import type { DeviceDescription, EntityDescription } from './presets/preset.js'

/** Description of one value of a topic. */
type Entity = Pick<EntityDescription, 'unit' | 'name' | 'deviceClass' | 'precision' | 'category' | 'states'>

/** Most topics with units, and most messages that describe devices, which are remembered. */
const maxTopics = 50_000
const maxDescriptions = 50_000
/** Most characters of descriptions. */
const maxCharacters = 32e6
/** Most fields of one topic with a unit. */
const maxFields = 1_000

/** Most users of one topic that are remembered. */
const maxPublishers = 8

interface Description {
  readonly devices: readonly DeviceDescription[]
  readonly characters: number
  /** The user who described them; empty where clients need not authenticate. */
  readonly user: string
}

/** Statement of one description about a value. */
interface Statement {
  readonly entity: Entity
  readonly user: string
  readonly device: DeviceDescription
  readonly of: Description
}

/** A snapshot, as JSON. */
export interface KnowledgeSnapshot {
  readonly units: readonly (readonly [topic: string, fields: readonly (readonly [field: string, unit: string])[]])[]
  /** The user is missing in snapshots of older versions, and where clients need not authenticate. */
  readonly descriptions: readonly (readonly [topic: string, devices: readonly DeviceDescription[], user?: string])[]
  /** Users who publish on described topics. Missing in snapshots of older versions. */
  readonly publishers?: readonly (readonly [topic: string, users: readonly string[]])[]
}

/**
 * Knowledge from payloads and discovery about devices and their values: names, units, classes. A newer message on the topic
 * of a description takes its place.
 *
 * A description speaks for the topics on which its own user publishes, and for those on which nobody has published yet.
 * So a user who may write a topic of discovery cannot name the units of another user's readings.
 */
export class Knowledge {
  readonly #units = new Map<string, Map<string, string>>()
  readonly #descriptions = new Map<string, Description>()
  #characters = 0
  /** Described values by topic and field. */
  readonly #entities = new Map<string, Map<string, readonly Statement[]>>()
  /** Descriptions of each device, the oldest first. */
  readonly #byId = new Map<string, readonly DeviceDescription[]>()
  /** Users who publish, by topic. */
  readonly #publishers = new Map<string, Set<string>>()
  #changes = 0

  /** Grows with each change. */
  get changes(): number {
    return this.#changes
  }

  /** Learns the units that the payloads of a topic name. */
  learnUnits(topic: string, units: readonly (readonly [field: string, unit: string])[]): void {
    let known = this.#units.get(topic)
    for (const [field, unit] of units) {
      if (known?.get(field) === unit) continue
      if (!known) {
        if (this.#units.size >= maxTopics) this.#units.clear()
        known = new Map()
        this.#units.set(topic, known)
      }
      if (known.size >= maxFields) known.clear()
      known.set(field, unit)
      this.#changes++
    }
  }

  /** Notes that a user publishes readings on a topic. */
  publishedBy(topic: string, user: string): void {
    const users = this.#publishers.get(topic)
    if (users?.has(user)) return
    if (users) {
      if (users.size >= maxPublishers) return
      users.add(user)
    } else {
      if (this.#publishers.size >= maxTopics) this.#publishers.clear()
      this.#publishers.set(topic, new Set([user]))
    }
    if (this.#descriptions.size > 0 && this.#entities.has(topic)) this.#changes++
  }

  /** Takes what a message of a user describes. No devices: the description is taken back. */
  describe(topic: string, devices: readonly DeviceDescription[], user = ''): void {
    const before = this.#descriptions.get(topic)
    const characters = JSON.stringify(devices).length
    const isSame = before?.user === user && characters === before.characters
    if (isSame && JSON.stringify(before.devices) === JSON.stringify(devices)) return
    if (before) this.#remove(topic, before)
    if (devices.length > 0) {
      const description = { devices, characters, user }
      this.#descriptions.set(topic, description)
      this.#characters += characters
      this.#index(description)
    }
    for (const [oldest, description] of this.#descriptions) {
      if (this.#descriptions.size <= maxDescriptions && this.#characters <= maxCharacters) break
      this.#remove(oldest, description)
    }
    this.#changes++
  }

  /**
   * Forgets a described device. Returns the topics that are of that device alone: of messages that describe no other
   * device, and of readings. Undefined when there is no such device.
   */
  forget(source: string, id: string): readonly string[] | undefined {
    const isMeant = (device: DeviceDescription) => device.source === source && device.id === id
    const own = new Set<string>()
    let isFound = false
    for (const [topic, { devices, user }] of [...this.#descriptions]) {
      const others = devices.filter(device => !isMeant(device))
      if (others.length === devices.length) continue
      isFound = true
      if (others.length === 0) own.add(topic)
      for (const { entities } of devices.filter(isMeant)) {
        for (const entity of entities) if (this.speaksFor(user, entity.topic)) own.add(entity.topic)
      }
      this.describe(topic, others, user)
    }
    if (!isFound) return undefined
    for (const { entities } of this.devices()) for (const { topic } of entities) own.delete(topic)
    return [...own]
  }

  /** Returns the unit of a field on a topic: from the payload, else from a description. */
  unitOf(topic: string, field: string): string | undefined {
    return this.#units.get(topic)?.get(field) ?? this.entityOf(topic, field)?.unit
  }

  /** Returns what descriptions say of a field on a topic. */
  entityOf(topic: string, field: string): Entity | undefined {
    if (this.#descriptions.size === 0) return undefined
    const statements = this.#entities.get(topic)?.get(field)
    if (!statements) return undefined
    let entity: Entity | undefined
    for (const one of statements) {
      if (this.speaksFor(one.user, topic)) entity = entity ? together(entity, one.entity) : one.entity
    }
    return entity
  }

  /** Returns the value that is commanded by messages on a topic. Undefined when no description says so. */
  commanded(commandTopic: string): EntityDescription | undefined {
    for (const { devices } of this.#descriptions.values()) {
      for (const { entities } of devices) {
        for (const entity of entities) if (entity.commandTopic === commandTopic) return entity
      }
    }
    return undefined
  }

  /** Whether a description of a user counts for a topic. */
  speaksFor(user: string, topic: string): boolean {
    const publishers = user === '' ? undefined : this.#publishers.get(topic)
    return publishers === undefined || publishers.has(user)
  }

  /** Returns the devices that were described, each once, with all their values. */
  devices(): readonly DeviceDescription[] {
    const devices = new Map<string, DeviceDescription>()
    for (const { devices: described, user } of this.#descriptions.values()) {
      for (const device of described) {
        // A device with the same id that another user describes is another device.
        const key = `${device.source}\0${device.id}\0${user}`
        const known = devices.get(key)
        devices.set(key, known ? merged(known, device) : device)
      }
    }
    return [...devices.values()].sort((a, b) => compare(a.name ?? a.id, b.name ?? b.id))
  }

  /** Returns the names of the device that has values on a topic, its id last. Empty when none is described. */
  namesOn(topic: string): readonly string[] {
    let newest: DeviceDescription | undefined
    for (const statements of this.#entities.get(topic)?.values() ?? []) {
      for (const { user, device } of statements)
        if ((!newest || device.name !== undefined) && this.speaksFor(user, topic)) newest = device
    }
    return newest ? this.namesOf(newest.id) : []
  }

  /** Returns the names of the described device with an id, the id last. Empty when none is described. */
  namesOf(id: string): readonly string[] {
    const devices = this.#byId.get(id)
    if (!devices) return []
    const name = devices.findLast(one => one.name !== undefined)?.name
    return name === undefined || name === id ? [id] : [name, id]
  }

  /**
   * Yields the devices that were described, by the user who described them, each with the values for which that user
   * speaks.
   */
  *speaking(): Iterable<readonly [user: string, device: DeviceDescription]> {
    const devices = new Map<string, readonly [user: string, device: DeviceDescription]>()
    for (const { devices: described, user } of this.#descriptions.values()) {
      for (const device of described) {
        const own = device.entities.filter(({ topic }) => this.speaksFor(user, topic))
        const { controls: _, availability: __, ...foreign } = device
        // A user who describes nothing but readings of others has no controls for them either.
        const isForeign = own.length === 0 && device.entities.length > 0
        const heard =
          own.length === device.entities.length ? device : { ...(isForeign ? foreign : device), entities: own }
        const key = `${device.source}\0${device.id}\0${user}`
        const known = devices.get(key)
        devices.set(key, [user, known ? merged(known[1], heard) : heard])
      }
    }
    yield* devices.values()
  }

  snapshot(): KnowledgeSnapshot {
    return {
      units: [...this.#units].map(([topic, fields]) => [topic, [...fields]] as const),
      descriptions: [...this.#descriptions].map(([topic, { devices, user }]) =>
        user === '' ? ([topic, devices] as const) : ([topic, devices, user] as const),
      ),
      publishers: [...this.#publishers]
        .filter(([topic]) => this.#entities.has(topic))
        .map(([topic, users]) => [topic, [...users]] as const),
    }
  }

  restore({ units, descriptions, publishers = [] }: KnowledgeSnapshot): void {
    for (const [topic, fields] of units) this.learnUnits(topic, fields)
    for (const [topic, devices, user] of descriptions) this.describe(topic, devices, user)
    for (const [topic, users] of publishers) for (const user of users) this.publishedBy(topic, user)
  }

  #remove(topic: string, description: Description): void {
    this.#descriptions.delete(topic)
    this.#characters -= description.characters
    for (const device of description.devices) {
      const same = this.#byId.get(device.id)?.filter(one => one !== device) ?? []
      if (same.length > 0) this.#byId.set(device.id, same)
      else this.#byId.delete(device.id)
      for (const { topic: of, field } of device.entities) {
        const fields = this.#entities.get(of)
        const others = fields?.get(field)?.filter(one => one.of !== description) ?? []
        if (others.length > 0) fields?.set(field, others)
        else if (fields?.delete(field) && fields.size === 0) this.#entities.delete(of)
      }
    }
  }

  /** Adds the values of a description behind those of all others. */
  #index(description: Description): void {
    for (const device of description.devices) {
      this.#byId.set(device.id, [...(this.#byId.get(device.id) ?? []), device])
      for (const { topic, field, ...entity } of device.entities) {
        let fields = this.#entities.get(topic)
        if (!fields) {
          fields = new Map()
          this.#entities.set(topic, fields)
        }
        const statement = { entity, user: description.user, device, of: description }
        fields.set(field, [...(fields.get(field) ?? []), statement])
      }
    }
  }
}

function merged(
  known: DeviceDescription,
  { source, id, entities, controls, availability, kinds, ...more }: DeviceDescription,
): DeviceDescription {
  return {
    ...known,
    ...definite(more),
    ...{ source, id, entities: [...known.entities, ...entities] },
    ...both('controls', known.controls, controls),
    ...both('availability', known.availability, availability),
    ...both('kinds', known.kinds, kinds),
  }
}

/** Most members of one kind of a device with many descriptions. */
const maxMerged = 200

function both<Name extends string, Item>(name: Name, one: readonly Item[] = [], other: readonly Item[] = []) {
  if (other.length === 0 || one.length >= maxMerged) return {}
  return { [name]: one.length === 0 ? other : [...one, ...other].slice(0, maxMerged) } as Record<Name, readonly Item[]>
}

/** Returns what two descriptions say of a value; the second counts. By hand, as each value of each reading needs it. */
function together(one: Entity, other: Entity): Entity {
  return {
    unit: other.unit ?? one.unit,
    name: other.name ?? one.name,
    deviceClass: other.deviceClass ?? one.deviceClass,
    precision: other.precision ?? one.precision,
    category: other.category ?? one.category,
    states: other.states ?? one.states,
  }
}

/** Returns the members that have a value. */
function definite<Members extends object>(members: Members): Partial<Members> {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined)) as Partial<Members>
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
