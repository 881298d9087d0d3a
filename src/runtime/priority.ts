import { readlinkSync } from 'node:fs'
import { setPriority } from 'node:os'

/**
 * Where processors are short, acknowledging comes before what this thread does. Linux has a priority for each thread,
 * and the threads this one starts inherit it; elsewhere nothing is done. With 10 it gets a tenth of what the broker gets
 * where both want all, with 19 next to nothing.
 */
export function yieldToBroker(nice: 10 | 19): void {
  try {
    const thread = Number(readlinkSync('/proc/thread-self').split('/').at(-1))
    setPriority(thread, nice)
  } catch {
    // No Linux, or not allowed: a matter of speed alone.
  }
}
