import { frameHeaderBytes } from '../disk/commit-log.js'
import { type DeadLetter, type Message, messageId } from '../model.js'
import { type DeadLetterFilter, fits } from '../queue/queue.js'
import { decodeMessage, encodedLength, encodeMessage, sequenceAt, userAt } from '../spool/message-codec.js'

/*
 * Encoding of a dead letter in a file:
 *
 *     ┌─────────────────┬──────────────────────────────────────────────────┬───────────────────┐
 *     │ JSON length u32 │ {hub?, reason, detail, partly?, …} UTF-8         │ message: codec.ts │   the body of a
 *     └─────────────────┴──────────────────────────────────────────────────┴───────────────────┘   frame: journal.ts
 */

/** Identifies a message as `messageId` does. Messages of this hub have a number, as there may be millions. */
export type Key = number | string

export function keyOf(message: Pick<Message, 'hub' | 'sequence'>): Key {
  return message.hub === undefined ? message.sequence : messageId(message)
}

export function keyOfId(id: string): Key {
  return /^\d+$/.test(id) ? Number(id) : id
}

/** The letters of a file at the time of reading. */
export class Letters {
  readonly #bytes: Buffer
  /** Offsets, ascending. */
  readonly starts: readonly number[]

  constructor(bytes: Buffer, starts: readonly number[]) {
    this.#bytes = bytes
    this.starts = starts
  }

  body(start: number): Buffer {
    const at = start + frameHeaderBytes
    return this.#bytes.subarray(at, at + this.#bytes.readUInt32LE(start))
  }

  /** Decodes a letter. Undefined for one of a later version. Payload and properties are views into the whole file. */
  at(start: number): DeadLetter | undefined {
    const body = this.body(start)
    const headEnd = endOfHead(body)
    const message = decodeMessage(body.subarray(headEnd))
    if (!message) return undefined
    const { hub, ...rest } = JSON.parse(body.toString('utf8', 4, headEnd)) as Head
    return { message: { ...message, ...(hub !== undefined && { hub }) }, ...rest }
  }

  /** Decodes a letter that matches the filter, with copies that may be kept. Undefined for other letters. */
  matching(start: number, filter: DeadLetterFilter): DeadLetter | undefined {
    // Before anything is parsed.
    if (filter.id !== undefined && this.key(start) !== keyOfId(filter.id)) return undefined
    const letter = this.at(start)
    if (!letter || !fits(letter, filter)) return undefined
    const { payload, properties } = letter.message
    const copies = { payload: Buffer.from(payload), ...(properties && { properties: Buffer.from(properties) }) }
    return { ...letter, message: { ...letter.message, ...copies } }
  }

  /** Bytes in the file. */
  size(start: number): number {
    return frameHeaderBytes + this.#bytes.readUInt32LE(start)
  }

  /** Returns `keyOf` the message, without decoding the letter if possible: a start calls this for all letters. */
  key(start: number): Key | undefined {
    const bytes = this.#bytes
    const at = start + frameHeaderBytes
    const end = start + this.size(start)
    if (end - at < 4) return undefined
    if (bytes.compare(hubFirst, 0, hubFirst.length, at + 4, Math.min(at + 4 + hubFirst.length, end)) === 0) {
      const message = this.at(start)?.message
      return message && keyOf(message)
    }
    return sequenceAt(bytes, at + 4 + bytes.readUInt32LE(at), end)
  }

  /** The user that published the message; empty when that cannot be read. */
  user(start: number): string {
    const at = start + frameHeaderBytes
    const end = start + this.size(start)
    return end - at < 4 ? '' : (userAt(this.#bytes, at + 4 + this.#bytes.readUInt32LE(at), end) ?? '')
  }
}

interface Head extends Omit<DeadLetter, 'message'> {
  readonly hub?: string
}

/** Returns the end of the head; for a body without a valid head, the end of the body. */
function endOfHead(body: Buffer): number {
  return body.length < 4 ? body.length : Math.min(4 + body.readUInt32LE(), body.length)
}

const hubFirst = Buffer.from('{"hub":')

/** A letter encoded for writing. */
export class EncodedLetter {
  readonly key: Key
  readonly length: number
  readonly user: string
  readonly #head: Buffer
  readonly #message: Message

  constructor({ message, reason, detail, partly, failedAt, attempts }: DeadLetter) {
    const { hub } = message
    this.key = keyOf(message)
    this.user = message.user
    this.#message = message
    const head = {
      ...(hub !== undefined && { hub }),
      reason,
      detail,
      ...(partly && { partly }),
      failedAt,
      attempts,
    } satisfies Head
    this.#head = Buffer.from(JSON.stringify(head))
    this.length = 4 + this.#head.length + encodedLength(message)
  }

  write(target: Buffer, at: number): void {
    target.writeUInt32LE(this.#head.length, at)
    this.#head.copy(target, at + 4)
    encodeMessage(this.#message, target, at + 4 + this.#head.length)
  }
}
