import { matches } from '../topics.js'

/** Most topics of which is remembered whether they are wanted. */
const maxRemembered = 50_000

/** The topics that somebody elsewhere wants: the filters of several hubs, asked for each message. */
export class Interest {
  readonly #filters = new Map<string, readonly string[]>()
  #remembered = new Map<string, boolean>()

  set(hub: string, filters: readonly string[]): void {
    this.#filters.set(hub, filters)
    this.#remembered = new Map()
  }

  delete(hub: string): void {
    if (this.#filters.delete(hub)) this.#remembered = new Map()
  }

  has(topic: string): boolean {
    const known = this.#remembered.get(topic)
    if (known !== undefined) return known
    let isWanted = false
    for (const filters of this.#filters.values()) isWanted ||= filters.some(filter => matches(filter, topic))
    if (this.#remembered.size >= maxRemembered) this.#remembered = new Map()
    this.#remembered.set(topic, isWanted)
    return isWanted
  }
}
