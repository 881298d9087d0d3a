import { Slices } from '../../runtime/slices.js'
import type { DeviceRows } from './device-rows.js'
import type { Edited } from './edited.js'
import type { GroupedDevice } from './grouping.js'

/** Area and icon of a device, as the screen shows them. */
export interface DevicePlace {
  readonly area: string | undefined
  /** The icon that a person chose, or the class of the device. */
  readonly icon: string
}

interface PlacedCard extends Pick<DeviceRows, 'area' | 'class'> {
  readonly edited: Edited
  readonly device: GroupedDevice
}

/** Yields the topics of a device, some twice. */
export function* topicsOf({ members, described }: GroupedDevice): Iterable<string> {
  for (const { seen } of members) yield seen.topic
  for (const { entities } of described) for (const { topic } of entities) yield topic
}

/** The places of devices by topic. */
export class DevicePlaces {
  #cards: readonly PlacedCard[] | undefined
  #byTopic: ReadonlyMap<string, DevicePlace> = new Map()

  /** Resolves with the place of each topic: the same map as before for the same cards, or when nothing has changed. */
  async of(cards: readonly PlacedCard[]): Promise<ReadonlyMap<string, DevicePlace>> {
    if (this.#cards === cards) return this.#byTopic
    const slices = new Slices()
    const byTopic = new Map<string, DevicePlace>()
    let isSame = true
    const add = (topic: string, place: DevicePlace) => {
      // Several devices of one topic have a common place, or none that is known.
      const other = byTopic.get(topic)
      if (other && (other.area !== place.area || other.icon !== place.icon)) byTopic.delete(topic)
      else byTopic.set(topic, place)
      const before = this.#byTopic.get(topic)
      if (before?.area !== place.area || before?.icon !== place.icon) isSame = false
    }
    for (const { area, class: own, edited, device } of cards) {
      if (slices.isOver) await slices.turn()
      const place = { area, icon: edited.icon ?? own }
      for (const topic of new Set(topicsOf(device))) add(topic, place)
    }
    this.#cards = cards
    if (!isSame || byTopic.size !== this.#byTopic.size) this.#byTopic = byTopic
    return this.#byTopic
  }
}
