import { openSync, readdirSync, readFileSync, truncateSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { CommitLog, nextFrame, syncDirectory } from '../journal.js'
import type { DeadLetter, Rejection } from '../model.js'
import { decodeMessage, encodedLength, encodeMessage } from './codec.js'
import type { DeadLetters } from './queue.js'

const fileBytes = 32e6

interface Head extends Rejection {
  readonly failedAt: number
  readonly attempts: number
}

/**
 * Dead letters without a RabbitMQ: append-only files, oldest first, kept until somebody drops them.
 *
 *     dead/0000000001.log      frames of journal.ts, their bodies:
 *     ┌─────────────────┬────────────────────────────────────────────┬─────────────────────┐
 *     │ JSON length u32 │ {reason, detail, failedAt, attempts} UTF-8 │ message: codec.ts   │
 *     └─────────────────┴────────────────────────────────────────────┴─────────────────────┘
 */
export class DeadLetterFiles implements DeadLetters {
  readonly name = 'dead letters'
  readonly #dir: string
  readonly #log: CommitLog
  #file = 0

  constructor(dir: string) {
    this.#dir = dir
    this.#log = new CommitLog({
      fsync: 'group',
      rotateBytes: fileBytes,
      rotate: async () => ({ fd: this.#create(), end: 0 }),
    })
  }

  async start(): Promise<void> {
    await mkdir(this.#dir, { recursive: true })
    const newest = this.#files().at(-1)
    if (newest === undefined) {
      this.#log.open(this.#create(), 0)
      return
    }
    this.#file = newest
    const path = this.#path(newest)
    const buffer = readFileSync(path)
    let end = 0
    for (let frame = nextFrame(buffer, 0); frame; frame = nextFrame(buffer, end)) end = frame.end
    if (end < buffer.length) truncateSync(path, end)
    this.#log.open(openSync(path, 'r+'), end)
  }

  async stop(): Promise<void> {
    await this.#log.close()
  }

  async put(letters: readonly DeadLetter[]): Promise<void> {
    await Promise.all(letters.map(letter => this.#append(letter)))
  }

  async list(limit: number): Promise<readonly DeadLetter[]> {
    const found: DeadLetter[] = []
    for (const file of this.#files().reverse()) {
      const letters = readLetters(readFileSync(this.#path(file)))
      found.push(...letters.reverse().slice(0, limit - found.length))
      if (found.length >= limit) break
    }
    return found
  }

  #append({ message, reason, detail, failedAt, attempts }: DeadLetter): Promise<void> {
    const head = Buffer.from(JSON.stringify({ reason, detail, failedAt, attempts } satisfies Head))
    return new Promise((resolve, reject) =>
      this.#log.append(
        4 + head.length + encodedLength(message),
        message,
        (message, target, at) => {
          target.writeUInt32LE(head.length, at)
          head.copy(target, at + 4)
          encodeMessage(message, target, at + 4 + head.length)
        },
        (_, error) => (error ? reject(error) : resolve()),
      ),
    )
  }

  #create(): number {
    const fd = openSync(this.#path(++this.#file), 'wx')
    syncDirectory(this.#dir)
    return fd
  }

  #files(): number[] {
    return readdirSync(this.#dir)
      .filter(name => /^\d{10}\.log$/.test(name))
      .map(name => Number(name.slice(0, 10)))
      .sort((a, b) => a - b)
  }

  #path(file: number): string {
    return join(this.#dir, `${String(file).padStart(10, '0')}.log`)
  }
}

function readLetters(buffer: Buffer): DeadLetter[] {
  const letters: DeadLetter[] = []
  for (let frame = nextFrame(buffer, 0); frame; frame = nextFrame(buffer, frame.end)) {
    const end = 4 + frame.body.readUInt32LE()
    const message = decodeMessage(frame.body.subarray(end))
    if (message) letters.push({ message, ...(JSON.parse(frame.body.toString('utf8', 4, end)) as Head) })
  }
  return letters
}
