import type { FeedEvent } from '../push/feeds.js'

interface Encoded<T> {
  readonly way: string
  readonly events: readonly FeedEvent[]
  readonly bytes: T
}

/**
 * Encodings of batches of events. Many receivers get the same batch, as screens with the same filters and rights do: it
 * is encoded for the first of them.
 */
export class SharedBatches<T> {
  readonly #byFirst = new WeakMap<FeedEvent, Encoded<T>>()

  /** Returns the encoding of the events. `way`: receivers of the same way get the same bytes for the same events. */
  of(events: readonly FeedEvent[], way: string, encode: () => T): T {
    const [first] = events
    const known = first && this.#byFirst.get(first)
    if (known && known.way === way && isSame(known.events, events)) return known.bytes
    const bytes = encode()
    if (first) this.#byFirst.set(first, { way, events, bytes })
    return bytes
  }
}

function isSame(a: readonly FeedEvent[], b: readonly FeedEvent[]): boolean {
  if (a.length !== b.length) return false
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false
  return true
}
