/** Most filters that are told one by one. Beyond, the first levels of all filters are told instead. */
const maxFilters = 1_000
/** Most bytes of JSON that they may have together: other hubs do not take an announcement of more than a megabyte. */
const maxBytes = 200_000

/** Time in which changes are gathered before they are told, in milliseconds. */
const gatherMs = 10

/** What is wanted, and the number of that state. */
export interface WantedFilters {
  readonly revision: number
  readonly filters: readonly string[]
}

/**
 * The topics that the sessions of this hub want, for hubs that decide what to send here: as the filters of all
 * subscriptions or, where these are too many or too long, as `a/#` for each first level. Counts nothing until somebody asks before
 * the first subscription.
 */
export class WantedTopics {
  readonly #filters = new Map<string, number>()
  readonly #levels = new Map<string, number>()
  #isCounting = false
  #revision = 0
  #begin: () => void = () => {}
  /** Resolves when the kept sessions are restored: before, what they want is not known. */
  readonly #begun = new Promise<void>(resolve => {
    this.#begin = resolve
  })
  #changed: (() => void)[] = []
  #timer: NodeJS.Timeout | undefined

  /** Called before there are subscriptions, where others are to know. */
  count(): void {
    this.#isCounting = true
  }

  /** Called when all kept sessions are restored. */
  begin(): void {
    this.#change()
    this.#begin()
  }

  add(filter: string): void {
    if (!this.#isCounting) return
    const count = this.#filters.get(filter) ?? 0
    this.#filters.set(filter, count + 1)
    if (count > 0) return
    const level = coarse(filter)
    this.#levels.set(level, (this.#levels.get(level) ?? 0) + 1)
    this.#change()
  }

  remove(filter: string): void {
    if (!this.#isCounting) return
    const count = this.#filters.get(filter) ?? 0
    if (count > 1) {
      this.#filters.set(filter, count - 1)
      return
    }
    if (!this.#filters.delete(filter)) return
    const level = coarse(filter)
    const left = (this.#levels.get(level) ?? 1) - 1
    if (left > 0) this.#levels.set(level, left)
    else this.#levels.delete(level)
    this.#change()
  }

  /** Resolves with what is wanted, once that is another state than the one with this number. */
  async next(known: number): Promise<WantedFilters> {
    await this.#begun
    while (this.#revision === known) await new Promise<void>(resolve => this.#changed.push(resolve))
    return { revision: this.#revision, filters: this.#list() }
  }

  #list(): readonly string[] {
    if (isShort(this.#filters)) return [...this.#filters.keys()]
    return isShort(this.#levels) ? [...this.#levels.keys()] : ['#', '$hub/#']
  }

  #change(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined
      this.#revision++
      for (const tell of this.#changed.splice(0)) tell()
    }, gatherMs)
  }
}

/** Returns whether so many filters, and so long ones, may be told. */
function isShort(filters: ReadonlyMap<string, number>): boolean {
  if (filters.size > maxFilters) return false
  let bytes = 0
  for (const filter of filters.keys()) {
    bytes += Buffer.byteLength(JSON.stringify(filter)) + 1
    if (bytes > maxBytes) return false
  }
  return true
}

/** Returns a filter that matches all that `filter` does, and has one level. */
function coarse(filter: string): string {
  const [first = ''] = filter.split('/', 1)
  return first === '+' || first === '#' ? '#' : `${first}/#`
}
