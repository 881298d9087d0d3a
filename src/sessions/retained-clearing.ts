import { setImmediate as turn } from 'node:timers/promises'
import { Slices } from '../runtime/slices.js'
import type { Retained, RetainedMessages } from './retained.js'

/** Milliseconds of clearing before other work of the broker thread gets a turn. */
const clearSliceMs = 2

/**
 * Calls `clear` with each topic whose retained message is meant, of `topics` or of all, in several turns. Resolves with
 * those topics.
 */
export async function clearRetained(
  retained: RetainedMessages,
  isMeant: (message: Retained) => boolean,
  clear: (topic: string) => void,
  topics?: readonly string[],
): Promise<readonly string[]> {
  const cleared: string[] = []
  const slices = new Slices(clearSliceMs)
  for (const topic of topics ?? (await topicsOf(retained, isMeant))) {
    // Another client may have retained a message meanwhile.
    const [message] = retained.match(topic)
    if (message === undefined || !isMeant(message)) continue
    cleared.push(topic)
    clear(topic)
    if (slices.isOver) await slices.turn()
  }
  return cleared
}

async function topicsOf(
  retained: RetainedMessages,
  isMeant: (message: Retained) => boolean,
): Promise<readonly string[]> {
  const topics: string[] = []
  for (const message of retained.search('#')) {
    if (message === undefined) await turn()
    else if (isMeant(message)) topics.push(message.topic)
  }
  return topics
}
