import { setImmediate as turn } from 'node:timers/promises'
import type { Retained, RetainedMessages } from './retained.js'

/** Retained messages cleared before other work gets a turn. */
const clearedAtOnce = 100

/** Calls `clear` with the topic of each message that is meant, in several turns. Resolves with the topics. */
export async function clearRetained(
  retained: RetainedMessages,
  isMeant: (message: Retained) => boolean,
  clear: (topic: string) => void,
): Promise<readonly string[]> {
  const topics: string[] = []
  for (const message of retained.search('#')) {
    if (message === undefined) await turn()
    else if (isMeant(message)) topics.push(message.topic)
  }
  const cleared: string[] = []
  for (const topic of topics) {
    // Another client may have retained a message meanwhile.
    const message = retained.get(topic)
    if (message === undefined || !isMeant(message)) continue
    cleared.push(topic)
    clear(topic)
    if (cleared.length % clearedAtOnce === 0) await turn()
  }
  return cleared
}
