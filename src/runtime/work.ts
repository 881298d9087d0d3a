/**
 * The work that the broker thread has done for its clients since the start, in units of about 0.1 µs. A loop that must
 * let others have their turn compares two readings. The units are counted and not timed, so that a busy machine does
 * not make the turns of everybody shorter.
 */
export class Work {
  done = 0
}

/** What is charged beside each visited node of a filter index, which is one unit. */
export const charge = {
  /** A packet that was read, decoded and checked. */
  packet: 20,
  /** A message that is looked up, journalled or acknowledged. */
  message: 10,
  /** One subscription that a message reaches. */
  delivery: 6,
  /** A filter that is asked for, added or removed. */
  filter: 20,
} as const

/** The most that all connections together are read for in one turn of the event loop: about 10 ms. */
export const turnWork = 100_000

/** The most that one loop does at a time: about 2.5 ms. */
export const sliceWork = 25_000
