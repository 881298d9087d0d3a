import { type HomeDevice, type HomeValue, keyOf, type Level } from './catalogue.js'
import { type Side, sideOf } from './format.js'
import type { Live } from './live.js'

/** The value of a device that is the farthest outside of the limits which people have set. */
export interface Outside {
  readonly value: HomeValue
  readonly side: Exclude<Side, ''>
}

/** Which devices have values outside of their limits, always as of the newest values. */
export class Limits {
  readonly #live: Live
  readonly #changed: () => void
  readonly #outside = new Map<string, Outside>()
  #ends: (() => void)[] = []
  /** Changes with each device that comes to be outside, or is within again. */
  version = 0

  constructor(live: Live, changed: () => void) {
    this.#live = live
    this.#changed = changed
  }

  /** Watches the values of these devices, and of no others. */
  take(devices: readonly HomeDevice[]): void {
    for (const end of this.#ends) end()
    this.#ends = []
    const ids = new Set<string>()
    for (const device of devices) {
      const limited = device.values.filter(({ thresholds, hidden }) => thresholds && !hidden)
      if (limited.length === 0) continue
      ids.add(device.id)
      const look = () => this.#look(device.id, limited)
      for (const value of limited) this.#ends.push(this.#live.watch(keyOf(value), look))
      look()
    }
    for (const id of [...this.#outside.keys()]) if (!ids.has(id)) this.#set(id, undefined)
  }

  of(id: string): Outside | undefined {
    return this.#outside.get(id)
  }

  levelOf(id: string): Level {
    const outside = this.#outside.get(id)
    return outside === undefined ? 'ok' : outside.side.startsWith('very') ? 'bad' : 'unusual'
  }

  #look(id: string, limited: readonly HomeValue[]): void {
    let worst: Outside | undefined
    for (const value of limited) {
      const side = sideOf(this.#live.of(keyOf(value))?.value, value)
      if (side !== '' && (!worst || (side.startsWith('very') && !worst.side.startsWith('very'))))
        worst = { value, side }
    }
    this.#set(id, worst)
  }

  #set(id: string, outside: Outside | undefined): void {
    const before = this.#outside.get(id)
    if (before?.side === outside?.side && before?.value === outside?.value) return
    if (outside) this.#outside.set(id, outside)
    else this.#outside.delete(id)
    this.version++
    this.#changed()
  }
}
