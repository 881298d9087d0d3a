import { readlinkSync } from 'node:fs'
import { setPriority } from 'node:os'

/**
 * Lowers the priority of this thread, so that acknowledging comes before the work of this thread where processors are
 * short. Linux has a priority for each thread, which new threads inherit from their starter; elsewhere nothing is done.
 * Where both threads want all of a processor, nice 10 gets a tenth of what the broker gets, nice 19 next to nothing.
 */
export function yieldToBroker(nice: 10 | 19): void {
  try {
    const thread = Number(readlinkSync('/proc/thread-self').split('/').at(-1))
    setPriority(thread, nice)
  } catch {
    // Not Linux, or not permitted. Only speed depends on the priority.
  }
}
