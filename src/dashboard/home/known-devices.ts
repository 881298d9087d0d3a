import type { HomeDevice } from './catalogue.js'
import { keep, kept } from './kept.js'

const knownKey = 'telehub.home.known'

/** The devices that this browser has seen before. */
export class KnownDevices {
  #known: Set<string> | undefined

  /** Returns the devices that are not known. At the first visit nothing is new, as everything is. */
  missing(devices: readonly HomeDevice[]): readonly HomeDevice[] {
    if (!this.#known) {
      const text = kept(knownKey)
      if (text === null && devices.length === 0) return []
      this.#known = new Set(text === null ? devices.map(({ id }) => id) : (JSON.parse(text) as string[]))
      if (text === null) this.#save()
    }
    const known = this.#known
    return devices.filter(({ id }) => !known.has(id))
  }

  add(devices: readonly HomeDevice[]): void {
    for (const { id } of devices) this.#known?.add(id)
    this.#save()
  }

  #save(): void {
    keep(knownKey, JSON.stringify([...(this.#known ?? [])]))
  }
}
