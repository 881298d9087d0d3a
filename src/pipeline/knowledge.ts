import type { DeviceDescription, EntityDescription } from './presets/preset.js'

/** Description of one value of a topic. */
type Entity = Pick<EntityDescription, 'unit' | 'name' | 'deviceClass' | 'precision'>

/** Most topics with units, and most messages that describe devices, which are remembered. */
const maxTopics = 50_000
const maxDescriptions = 50_000
/** Most characters of descriptions. */
const maxCharacters = 32e6
/** Most fields of one topic with a unit. */
const maxFields = 1_000

interface Description {
  readonly devices: readonly DeviceDescription[]
  readonly characters: number
}

/** A snapshot, as JSON. */
export interface KnowledgeSnapshot {
  readonly units: readonly (readonly [topic: string, fields: readonly (readonly [field: string, unit: string])[]])[]
  readonly descriptions: readonly (readonly [topic: string, devices: readonly DeviceDescription[]])[]
}

/**
 * Knowledge from payloads and discovery about devices and their values: names, units, classes. A newer message on the topic
 * of a description takes its place.
 */
export class Knowledge {
  readonly #units = new Map<string, Map<string, string>>()
  readonly #descriptions = new Map<string, Description>()
  #characters = 0
  /** Described values by topic and field. */
  #entities: Map<string, Map<string, Entity>> | undefined
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

  /** Takes what a message describes. No devices: the description is taken back. */
  describe(topic: string, devices: readonly DeviceDescription[]): void {
    const before = this.#descriptions.get(topic)
    const characters = JSON.stringify(devices).length
    if (before && characters === before.characters && JSON.stringify(before.devices) === JSON.stringify(devices)) return
    if (before) this.#characters -= before.characters
    this.#descriptions.delete(topic)
    if (devices.length > 0) {
      this.#descriptions.set(topic, { devices, characters })
      this.#characters += characters
    }
    for (const [oldest, { characters: freed }] of this.#descriptions) {
      if (this.#descriptions.size <= maxDescriptions && this.#characters <= maxCharacters) break
      this.#descriptions.delete(oldest)
      this.#characters -= freed
    }
    this.#entities = undefined
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
    for (const [topic, { devices }] of [...this.#descriptions]) {
      const others = devices.filter(device => !isMeant(device))
      if (others.length === devices.length) continue
      isFound = true
      if (others.length === 0) own.add(topic)
      for (const { entities } of devices.filter(isMeant)) for (const entity of entities) own.add(entity.topic)
      this.describe(topic, others)
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
    return this.#indexed().get(topic)?.get(field)
  }

  /** Returns the devices that were described, each once, with all their values. */
  devices(): readonly DeviceDescription[] {
    const devices = new Map<string, DeviceDescription>()
    for (const { devices: described } of this.#descriptions.values()) {
      for (const device of described) {
        const key = `${device.source}\0${device.id}`
        const known = devices.get(key)
        devices.set(key, known ? merged(known, device) : device)
      }
    }
    return [...devices.values()].sort((a, b) => compare(a.name ?? a.id, b.name ?? b.id))
  }

  snapshot(): KnowledgeSnapshot {
    return {
      units: [...this.#units].map(([topic, fields]) => [topic, [...fields]] as const),
      descriptions: [...this.#descriptions].map(([topic, { devices }]) => [topic, devices] as const),
    }
  }

  restore({ units, descriptions }: KnowledgeSnapshot): void {
    for (const [topic, fields] of units) this.learnUnits(topic, fields)
    for (const [topic, devices] of descriptions) this.describe(topic, devices)
  }

  #indexed(): ReadonlyMap<string, ReadonlyMap<string, Entity>> {
    if (this.#entities) return this.#entities
    const index = new Map<string, Map<string, Entity>>()
    for (const { devices } of this.#descriptions.values()) {
      for (const { entities } of devices) {
        for (const { topic, field, ...entity } of entities) {
          const fields = index.get(topic) ?? new Map<string, Entity>()
          index.set(topic, fields)
          fields.set(field, { ...fields.get(field), ...entity })
        }
      }
    }
    this.#entities = index
    return index
  }
}

function merged(known: DeviceDescription, { source, id, entities, ...more }: DeviceDescription): DeviceDescription {
  const given = Object.fromEntries(Object.entries(more).filter(([, value]) => value !== undefined))
  return { ...known, ...given, source, id, entities: [...known.entities, ...entities] }
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
