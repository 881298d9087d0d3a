import { monotonicMicros } from './wire.js'

const tickMs = 2

/**
 * Calls `send` every few milliseconds with the numbers of what is due by the clock, from `from` to before `to`. Returns the
 * timer, which ends this.
 */
export function pace(rate: number, send: (from: number, to: number) => void): NodeJS.Timeout {
  const begin = monotonicMicros()
  let sent = 0
  return setInterval(() => {
    const due = Math.ceil(((monotonicMicros() - begin) / 1e6) * rate)
    if (due === sent) return
    send(sent, due)
    sent = due
  }, tickMs)
}

/** Returns what `make` makes of each number from `from` to before `to`. */
export function each<T>(from: number, to: number, make: (n: number) => T): T[] {
  return Array.from({ length: to - from }, (_, i) => make(from + i))
}
