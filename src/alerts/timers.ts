/** Can be waked at a time. `timer` is the place of the wake in the heap, and belongs to {@link Timers}. */
export interface Timed {
  /** When to be waked, in microseconds; infinite: never. */
  due: number
  /** When the heap wakes it, which may be earlier than `due`. */
  timer: number
  /** Of two that are due at the same time the one of smaller depth is waked first. */
  readonly depth: number
}

interface Wake<T> {
  readonly at: number
  readonly timed: T
}

/**
 * All timers of the rules in one heap. A wake that moves to a later time, as with each reading of a value whose silence
 * is watched, costs nothing: the old wake finds that it is early, and is put back.
 */
export class Timers<T extends Timed> {
  #heap: Wake<T>[] = []

  /** Number of wakes, early ones included. */
  get size(): number {
    return this.#heap.length
  }

  set(timed: T, due: number): void {
    timed.due = due
    if (due >= timed.timer) return
    timed.timer = due
    this.#push({ at: due, timed })
  }

  /** Returns the next one that is due at `now`, in the order of time. Undefined when there is none. */
  next(now: number): T | undefined {
    for (let first = this.#heap[0]; first && first.at <= now; first = this.#heap[0]) {
      this.#pop()
      const { at, timed } = first
      // An earlier wake was set since, or this one was waked already.
      if (timed.timer !== at) continue
      timed.timer = Number.POSITIVE_INFINITY
      if (timed.due <= at) {
        timed.due = Number.POSITIVE_INFINITY
        return timed
      }
      if (timed.due < Number.POSITIVE_INFINITY) this.set(timed, timed.due)
    }
    return undefined
  }

  /** Time of the earliest wake; infinite when there is none. */
  get earliest(): number {
    return this.#heap[0]?.at ?? Number.POSITIVE_INFINITY
  }

  /** Moves all wakes, as the clock has jumped. */
  shift(by: number): void {
    const moved = new Set<T>()
    this.#heap = this.#heap.map(({ at, timed }) => {
      const isCurrent = timed.timer === at
      if (isCurrent) moved.add(timed)
      return { at: at + by, timed }
    })
    for (const timed of moved) {
      timed.timer += by
      timed.due += by
    }
  }

  #push(wake: Wake<T>): void {
    const heap = this.#heap
    let i = heap.length
    heap.push(wake)
    while (i > 0) {
      const above = (i - 1) >> 1
      if (!isBefore(wake, heap[above] as Wake<T>)) break
      heap[i] = heap[above] as Wake<T>
      i = above
    }
    heap[i] = wake
  }

  #pop(): void {
    const heap = this.#heap
    const last = heap.pop() as Wake<T>
    if (heap.length === 0) return
    let i = 0
    for (let below = 1; below < heap.length; below = i * 2 + 1) {
      if (below + 1 < heap.length && isBefore(heap[below + 1] as Wake<T>, heap[below] as Wake<T>)) below++
      if (!isBefore(heap[below] as Wake<T>, last)) break
      heap[i] = heap[below] as Wake<T>
      i = below
    }
    heap[i] = last
  }
}

function isBefore<T extends Timed>(a: Wake<T>, b: Wake<T>): boolean {
  return a.at < b.at || (a.at === b.at && a.timed.depth < b.timed.depth)
}
