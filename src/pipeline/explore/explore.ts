import { mayRead, type ReadRules } from '../../access/rules.js'
import { type Answer, encodeJson, type Json, type Received } from '../../contract/contract.js'
import { HubError } from '../../errors.js'
import type { Message } from '../../model.js'
import { describeMessage } from '../../mqtt/message-row.js'
import { SerialQueue } from '../../runtime/serial-queue.js'
import { Slices } from '../../runtime/slices.js'
import type { Cursors } from '../../spool/cursors.js'
import type { LivePusher } from '../live-pusher.js'
import type { Registry } from '../registry.js'
import { TopicLevels, type TopicsQuery } from './topic-levels.js'
import type { TopicTree } from './topic-tree.js'

export type { TopicsQuery } from './topic-levels.js'

/** Selects messages of a topic, and the rules for what the caller may read. */
export type MessagesQuery = Received<'GET /api/topics/messages'> & { readonly rules: ReadRules | undefined }

type Messages = Pick<Answer<'GET /api/topics/messages'>, 'messages' | 'isWhole'>

/** Tells what the mapping makes of messages. */
export interface MessageTrial {
  /** Returns a function that tells what the mapping of now makes of a message, and changes nothing. */
  trial(): (message: Message) => Answer<'POST /api/map/try'>
}

export interface ExploreOptions {
  readonly live: Pick<LivePusher, 'tree' | 'watch'>
  readonly registry: Pick<Registry, 'last' | 'next'>
  readonly cursors: Pick<Cursors, 'numbered' | 'segments'>
}

/** Messages of the spool, and bytes of payloads, that are looked at for one topic; and for how many milliseconds. */
const mostLooked = 500_000
const mostLookedBytes = 96e6
const longestMs = 3_000

/** Longest payload in an answer, and most bytes of all. */
const longestPayload = 65_536
const mostBytes = 2e6

/** Answers about topics and their messages as they came, whether they are stored or not. */
export class Explore {
  readonly #options: ExploreOptions
  readonly #levels: TopicLevels
  /** Searches in the spool, one at a time. */
  readonly #searches = new SerialQueue()
  #restored: Promise<void> | undefined

  constructor(options: ExploreOptions) {
    this.#options = options
    this.#levels = new TopicLevels(options.live.tree)
  }

  /** Resolves when topics from before the start are in the tree. */
  restored(): Promise<void> {
    this.#restored ??= this.#restore()
    return this.#restored
  }

  /** Topics on which messages came. */
  get tree(): TopicTree {
    return this.#options.live.tree
  }

  async topics(query: TopicsQuery): Promise<Json<Answer<'GET /api/topics'>>> {
    await this.restored()
    return encodeJson(await this.#levels.answer(query))
  }

  /** Takes the topics with readings from before the start. */
  async #restore(): Promise<void> {
    const { live, registry } = this.#options
    const slices = new Slices()
    // Topics that get a reading meanwhile come again at the end.
    let left = live.tree.size + 1_000_000
    for (const [topic, json, client] of registry.last()) {
      if (slices.isOver) await slices.turn()
      if (left-- <= 0) break
      const received = Number(/"received":([\d.]+)/.exec(json)?.[1] ?? 0)
      live.tree.restore(topic, received, client, '')
    }
  }

  /** Resolves with the last messages of a topic, the newest first. */
  async messages({ topic, after, limit, rules }: MessagesQuery, trials: MessageTrial): Promise<Messages> {
    if (rules && !mayRead(rules, topic)) {
      throw new HubError('forbidden', `${JSON.stringify(topic)}: this user may not read the topic`, {
        said: { code: 'topic-hidden', values: { topic } },
      })
    }
    const found = await this.recent(topic, limit, after)
    const read = trials.trial()
    const rows: Messages['messages'][number][] = []
    let bytes = 0
    for (const message of found.messages) {
      bytes += Math.min(longestPayload, message.payload.length)
      if (bytes > mostBytes && rows.length > 0) break
      const { described: _, ...mapped } = read(message)
      rows.push({ ...payloadRow(message), mapped })
    }
    return { messages: rows, isWhole: found.isWhole && rows.length === found.messages.length }
  }

  /**
   * Resolves with the last messages of a topic, at most `limit` of them and the newest first. `isWhole`: none is missing
   * between `after`, or the oldest of them, and now.
   */
  async recent(
    topic: string,
    limit: number,
    after = 0,
  ): Promise<{ readonly messages: readonly Message[]; readonly isWhole: boolean }> {
    const { live, registry } = this.#options
    const watched = live.watch.ask(topic, Date.now(), registry.next)
    const least = after + 1
    let found = watched.messages.filter(({ sequence }) => sequence >= least)
    let isWhole = least >= watched.from
    if (!isWhole && found.length < limit) {
      const range = { from: least, to: watched.from - 1, most: limit - found.length }
      const older = await this.#searches.run(() => this.#search(topic, range))
      found = [...older.messages, ...found]
      isWhole = older.isWhole
    }
    const newest = found.slice(-limit).reverse()
    return { messages: newest, isWhole: isWhole && newest.length === found.length }
  }

  /** Looks through the spool for messages of a topic: backwards by segments, as far as that is worth it. */
  async #search(
    topic: string,
    { from, to, most }: { readonly from: number; readonly to: number; readonly most: number },
  ): Promise<{ readonly messages: readonly Message[]; readonly isWhole: boolean }> {
    const { cursors, live } = this.#options
    let found: Message[] = []
    let [looked, bytes] = [0, 0]
    const began = performance.now()
    // Where the newest message is known, what came behind it need not be read.
    const newest = live.tree.find(topic)?.sequence || to
    let end = Math.min(to, newest)
    for (const segment of cursors.segments) {
      if (segment > end) continue
      if (end < from) return { messages: found, isWhole: true }
      const own: Message[] = []
      const signal = new AbortController()
      try {
        const range = { from: Math.max(from, segment), to: end }
        for await (const messages of cursors.numbered(range, signal.signal)) {
          looked += messages.length
          for (const message of messages) {
            bytes += message.payload.length
            if (message.topic !== topic) continue
            // Only the last ones count.
            own.push({ ...message, payload: Buffer.from(message.payload) })
            if (own.length > most) own.shift()
          }
          if (performance.now() - began > longestMs) signal.abort()
          await new Promise(resolve => setImmediate(resolve))
        }
      } catch (error) {
        // Meanwhile the spool may have deleted its oldest segment.
        if (!(error instanceof HubError && error.code === 'not_found')) throw error
        return { messages: found, isWhole: false }
      }
      // A search that was cut short has the oldest messages of a segment: some are missing before the newer ones.
      if (signal.signal.aborted) return { messages: found.length > 0 ? found : own, isWhole: false }
      found = [...own, ...found].slice(-most)
      if (found.length >= most || looked > mostLooked || bytes > mostLookedBytes)
        return { messages: found, isWhole: false }
      end = segment - 1
    }
    return { messages: found, isWhole: end < from }
  }
}

/** Returns what answers say of a message, with the beginning of its payload. */
export function payloadRow(message: Message) {
  const payload = message.payload.subarray(0, longestPayload).toString('base64')
  return { ...describeMessage(message), bytes: message.payload.length, payload }
}
