import type { Message } from '../../model.js'
import type { Mapping } from '../mapping.js'
import { readingTopic } from '../sparkplug/topic.js'
import type { FeedItem } from './feed.js'
import type { FollowOptions, ReadingJson } from './reading-json.js'

/** Which topics and values a receiver of live items wants. */
export interface LiveWanted extends Omit<FollowOptions, 'sequence'> {
  /** Returns false for a topic to leave out. */
  isTopicWanted(topic: string): boolean
}

/** The part of the processor thread that makes the live item of a message, for all feeds or for one that begins. */
export class LiveItems {
  readonly #mapping: Pick<Mapping, 'read'>
  readonly #json: ReadingJson

  constructor(mapping: Pick<Mapping, 'read'>, json: ReadingJson) {
    this.#mapping = mapping
    this.#json = json
  }

  /** Returns what a message tells the receivers of its topic. Undefined when that is nothing. */
  of(message: Message, wanted: LiveWanted): FeedItem | undefined {
    const { sequence, payload, retain, receivedAt } = message
    const topic = readingTopic(message.topic)
    if (!wanted.isTopicWanted(topic)) return undefined
    if (payload.length === 0) {
      // MQTT 3.1.1, section 3.3.1.3: such a message removes the retained one. Births and deaths are of other topics.
      return retain && topic === message.topic ? clearedItem(topic, sequence, receivedAt) : undefined
    }
    const reading = this.#mapping.read(message)
    if ('reason' in reading) return undefined
    const json = this.#json.encode(reading, { follow: { sequence, ...wanted } })
    return json === undefined ? undefined : { kind: 'live', topic, sequence, json }
  }
}

/**
 * Returns the item of a topic that has no newest reading any more.
 *
 * @param sequence Sequence number of the message that cleared the topic, or of the last one before the removal
 * @param at Microseconds since the epoch
 */
export function clearedItem(topic: string, sequence: number, at: number): FeedItem {
  return { kind: 'cleared', topic, sequence, json: JSON.stringify({ topic, sequence, received: at / 1_000 }) }
}
