/**
 * The work that the broker thread has done for clients since the start, in units of about 0.1 µs. A loop that must
 * yield to others compares two readings. Units are counted, not timed: a busy machine does not make turns shorter.
 */
export class Work {
  done = 0
  /**
   * True while connections come. The event loop accepts one in each turn, and the system's queue of new connections
   * overflows after some thousands: the system then resets connections, some after seconds. So turns are short.
   */
  isHurried = false

  /** The most work that one loop does in this turn. */
  get slice(): number {
    return this.isHurried ? hurriedWork : sliceWork
  }
}

/**
 * Units charged for each step of work, as measured with 100,000 sessions and 300,000 retained messages, whose maps are in
 * no cache of the processor. Each visited node of a filter index is one unit more.
 */
export const charge = {
  /** A packet that was read, decoded and checked. */
  packet: 50,
  /** A message that is looked up and acknowledged. */
  message: 40,
  /** A message that is retained, or cleared. */
  retained: 150,
  /** A message that is journalled for the sessions that keep it. */
  queued: 60,
  /** One subscription that a message reaches. */
  delivery: 6,
  /** A filter that is looked up, added or removed. */
  filter: 20,
} as const

/** The most work that reading all connections may cause in one turn of the event loop: about 10 ms. */
export const turnWork = 100_000

/** The most work of one loop while connections come: about 0.2 ms. */
export const hurriedWork = 2_000

/** The most work that one loop does at a time: about 2.5 ms. */
export const sliceWork = 25_000
