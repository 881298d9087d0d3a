/** Tells milliseconds: `Date` those since the epoch, `performance` those of a clock that never jumps. */
export interface MillisecondClock {
  now(): number
}

/** Tells microseconds since the epoch. */
export interface MicrosecondClock {
  now(): number
}

/** The wall clock of the machine, in microseconds, set or not. */
export const machineClock: MicrosecondClock = { now: () => Date.now() * 1_000 }

/** Returns a clock that tells the same time in whole milliseconds. */
export function inMilliseconds(clock: MicrosecondClock): MillisecondClock {
  return { now: () => Math.floor(clock.now() / 1_000) }
}
