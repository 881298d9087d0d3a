import { createHash } from 'node:crypto'
import { mayRead, type ReadRules } from '../access/rules.js'
import type { BalanceSheet } from '../accounting/balance-sheet.js'
import { type Answer, encodeJson, type Json, type Received } from '../contract/contract.js'
import { HubError } from '../errors.js'
import { type Message, messageId } from '../model.js'
import type { DeadLetters } from '../queue/queue.js'
import { SerialQueue } from '../runtime/serial-queue.js'
import { Slices } from '../runtime/slices.js'
import { matches } from '../topics.js'
import type { SpoolProgress } from './spool-progress.js'

/** Selects messages of the spool and the archive, and the rules for what the caller may read. */
export type FindQuery = Received<'GET /api/find'> & { readonly rules: ReadRules | undefined }

type FoundMessages = Answer<'GET /api/find'>
type MessageWay = FoundMessages['messages'][number]
type MessageHop = MessageWay['hops'][number]

export interface FinderOptions {
  readonly progress: Pick<SpoolProgress, 'cursors' | 'accepted' | 'drained' | 'queued' | 'book'>
  readonly balance: Pick<BalanceSheet, 'isSettled'>
  readonly dead: Pick<DeadLetters, 'list'>
}

/** Messages that are looked at for one answer, and for how many milliseconds. */
const mostLooked = 500_000
const longestMs = 3_000
const hour = 3_600_000

/**
 * Answers where messages are, from what is kept anyway: the spool and its archive, the cursors, the balance sheet, the dead letters.
 * Times that nobody wrote down are ranges.
 */
export class Finder {
  readonly #options: FinderOptions
  /** Searches run one at a time: each reads much. */
  readonly #searches = new SerialQueue()

  constructor(options: FinderOptions) {
    this.#options = options
  }

  /** Resolves with a page of messages, the oldest first, and with `next` when there may be more. */
  find(query: FindQuery, now: number): Promise<Json<FoundMessages>> {
    return this.#searches.run(async () => encodeJson(await this.#find(query, now)))
  }

  async #find(query: FindQuery, now: number): Promise<FoundMessages> {
    const { cursors, accepted } = this.#options.progress
    const to = query.to ?? now
    const from = query.from ?? to - hour
    if (from > to) throw new HubError('bad_request', `from (${from}) is after to (${to})`)
    const first = query.after === undefined ? 0 : query.after + 1
    const { messages, next } = await this.#search(query, { from: from * 1_000, to: to * 1_000, first })
    const rows: MessageWay[] = []
    for (const message of messages) rows.push(await this.#row(message, now))
    const { segments, archive } = await cursors.status()
    const oldest = archive?.from ?? segments.find(({ from }) => from !== undefined)?.from
    return {
      messages: rows,
      accepted,
      ...(next !== undefined && { next }),
      ...(oldest !== undefined && { oldest: oldest / 1_000 }),
    }
  }

  /** Looks through the segments of the time range, as far as that is worth it. */
  async #search(query: FindQuery, { from, to, first }: { from: number; to: number; first: number }) {
    const { cursors } = this.#options.progress
    const found: Message[] = []
    const abort = new AbortController()
    const slices = new Slices()
    const began = performance.now()
    let looked = 0
    let last: number | undefined
    const { sequence } = query
    const isNumbered = first > 0 || sequence !== undefined
    const source = isNumbered
      ? cursors.numbered(
          { from: Math.max(first, sequence ?? 0), to: sequence ?? Number.MAX_SAFE_INTEGER },
          abort.signal,
        )
      : cursors.past({ from, to }, abort.signal).batches
    try {
      for await (const batch of source) {
        for (const message of batch) {
          if (slices.isOver) await slices.turn()
          last = message.sequence
          looked++
          // A number says all: no time is needed.
          const isInTime =
            (sequence !== undefined && query.from === undefined && query.to === undefined) ||
            (message.receivedAt >= from && message.receivedAt < to)
          if (isInTime && fits(message, query)) {
            found.push({ ...message, payload: Buffer.from(message.payload) })
            if (found.length >= query.limit) return { messages: found, next: last }
          }
          if (looked >= mostLooked || performance.now() - began > longestMs) return { messages: found, next: last }
        }
      }
    } catch (error) {
      // The oldest segment was deleted meanwhile: what is left is found with the next page.
      if (!(error instanceof HubError && error.code === 'not_found')) throw error
      return { messages: found, next: last ?? cursors.oldestKept }
    } finally {
      abort.abort()
    }
    return { messages: found, next: undefined }
  }

  async #row(message: Message, now: number): Promise<MessageWay> {
    const { sequence, topic, clientId, user, qos, packetId, payload } = message
    return {
      sequence,
      topic,
      clientId,
      user,
      qos,
      ...(packetId > 0 && { packet: packetId }),
      size: payload.length,
      hash: hashOf(payload),
      hops: await this.#hops(message, now),
    }
  }

  async #hops(message: Message, now: number): Promise<MessageHop[]> {
    const { progress, balance, dead } = this.#options
    const { book, queued, drained } = progress
    const { sequence } = message
    const received = message.receivedAt / 1_000
    const between = (what: 'onDisk' | 'drained' | 'settled') => {
      const { after, before } = book.passed(what, sequence)
      return { after: Math.max(received, after ?? 0), before: before ?? now }
    }
    const hops: MessageHop[] = [
      { hop: 'received', at: received },
      { hop: 'on disk', ...between('onDisk') },
    ]
    if (queued) {
      const isConfirmed = sequence <= drained
      const range = isConfirmed ? between('drained') : undefined
      hops.push(
        range ? { hop: 'published', after: received, before: range.before } : { hop: 'published', isWaiting: true },
      )
      hops.push(range ? { hop: 'confirmed', ...range } : { hop: 'confirmed', isWaiting: true })
    }
    if (!balance.isSettled(sequence)) return [...hops, { hop: 'stored', isWaiting: true }]
    const [letter] = await dead.list({ id: messageId(message) }, 1)
    if (!letter) return [...hops, { hop: 'stored', ...between('settled') }]
    const { failedAt, reason, detail, partly } = letter
    return [...hops, { hop: 'dead', at: failedAt / 1_000, reason, detail, ...(partly && { partly }) }]
  }
}

function fits(message: Message, { device, topic, packet, hash, sequence, rules }: FindQuery): boolean {
  return (
    (sequence === undefined || message.sequence === sequence) &&
    (device === undefined || message.clientId === device) &&
    (packet === undefined || message.packetId === packet) &&
    (topic === undefined || matches(topic, message.topic)) &&
    (!rules || mayRead(rules, message.topic)) &&
    (hash === undefined || hashOf(message.payload) === hash.toLowerCase())
  )
}

function hashOf(payload: Uint8Array): string {
  return createHash('sha256').update(payload).digest('hex')
}
