import { setTimeout as sleep } from 'node:timers/promises'
import { type DeadLetter, messageId } from '../model.js'
import { type DeadLetterFilter, type DeadLetters, fits, heldBytes } from '../queue/queue.js'
import { unlessAborted } from '../runtime/retry.js'
import { SerialQueue } from '../runtime/serial-queue.js'
import type { MicrosecondClock } from '../runtime/time.js'
import { type Channel, type Delivered, exchanges, queues, type RabbitConnection, unavailable } from './connection.js'
import { integer, outgoingMessage, text, unpack } from './message.js'
import type { RabbitPublisher } from './publisher.js'

export interface RabbitDeadLettersOptions {
  readonly hubId: string
  readonly publisher: RabbitPublisher
  readonly connection: RabbitConnection
  /** Returns the time, in microseconds. */
  readonly clock: MicrosecondClock
}

/** Longest detail and reason: the driver's buffer for headers is limited. */
const maxDetail = 1_000
const maxReason = 255

/** Most letters, and most bytes of letters, examined at a time. */
const maxLetters = 100_000
const maxBytes = 256 * 1024 * 1024

/**
 * Letters that one consumer takes before the next one does: RabbitMQ reads from its disk in one go all that one
 * consumer receives.
 */
const consumerLetters = 5_000

/** Longest wait for a delivery from a queue that reported more letters. */
const silenceMs = 10_000

const lettersAtATime = 500

/**
 * Time that a channel stays open after removals. RabbitMQ holds back some acknowledgements of a quorum queue until it
 * has stored earlier ones, and forgets those that it still holds when the channel closes: the letters would be back.
 */
const lingerMs = 10_000

/** How often, and how long apart, to look for letters that are on their way back into the queue. */
const maxTries = 20
const retryMs = 100

/** A letter and the AMQP message that carried the letter. */
interface FoundLetter {
  readonly letter: DeadLetter
  readonly got: Delivered
  /** Copies that were put again after a crash. They add nothing to this letter, and are removed together. */
  readonly twins: Delivered[]
}

interface Scan {
  readonly filter: DeadLetterFilter
  readonly limit: number
  /** Letters that a running sweep has taken and still holds. */
  readonly known: readonly FoundLetter[]
  readonly signal?: AbortSignal
  /** Receives the batches, which are then not unpacked. Undefined to unpack them. */
  readonly batches?: Delivered[]
}

/**
 * The letters in `telehub.dead`. Examining letters takes them from RabbitMQ without acknowledging; afterwards they go
 * back to their places. So two hubs that examine the queue of one RabbitMQ at the same time see different parts. Within
 * this process one examination waits for the other, and letters that a running sweep holds are listed from memory.
 *
 * A letter whose `put` has resolved is in every list and sweep that begins later. RabbitMQ's own count of a quorum
 * queue cannot be used for that: RabbitMQ 3.10 answers 0 when the queue does not answer within 250 ms. `basic.get` goes
 * through the queue's log like everything else, and reports how many letters are behind the one returned. The first
 * 100,000 letters are examined, or 256 MB of them; the letters behind those are seen when these are removed. A sweep
 * that takes longer than RabbitMQ's consumer timeout (half an hour) rejects; letters removed until then stay removed.
 *
 * A message that RabbitMQ itself has dead-lettered is a letter too, with RabbitMQ's reason. A batch among those is
 * listed as the letters in it. Before a sweep hands any of them over, all of them are put again, one by one, and the
 * batch is removed.
 */
export class RabbitDeadLetters implements DeadLetters {
  readonly #options: RabbitDeadLettersOptions
  /** Resolves when the last examination of the queue has ended. */
  readonly #looking = new SerialQueue()
  readonly #sweeping = new SerialQueue()
  /** Letters that the running sweep has taken and not removed. */
  #taken: ReadonlySet<FoundLetter> = new Set()
  #sweepingLook: LetterLookup | undefined
  /**
   * Number of AMQP messages that are at least in the queue or held here, unless another hub has removed some. Letters
   * that are given back take a moment until they can be taken again.
   */
  #known = 0

  constructor(options: RabbitDeadLettersOptions) {
    this.#options = options
  }

  async put(letters: readonly DeadLetter[]): Promise<void> {
    const { hubId, publisher } = this.#options
    await publisher.publish(
      letters.map(({ message, reason, detail, partly, failedAt, attempts }) =>
        outgoingMessage(exchanges.dead, message, hubId, {
          mandatory: true,
          set: 'full',
          more: {
            reason,
            detail: detail.slice(0, maxDetail),
            ...(partly && { partly }),
            'failed-at': failedAt,
            attempts,
            'packet-id': message.packetId,
          },
        }),
      ),
    )
    this.#known += letters.length
  }

  list(filter: DeadLetterFilter, limit: number): Promise<readonly DeadLetter[]> {
    return this.#looking.run(async () => {
      if (limit < 1) return []
      const look = await this.#look()
      try {
        const found = await this.#scan(look, { filter, limit, known: [...this.#taken] })
        return found.map(({ letter }) => letter).reverse()
      } finally {
        await look.end()
      }
    })
  }

  sweep(
    filter: DeadLetterFilter,
    handle: (letters: readonly DeadLetter[]) => Promise<readonly boolean[]>,
    signal: AbortSignal,
  ): Promise<void> {
    return this.#sweeping.run(async () => {
      if (signal.aborted) return
      const look = await this.#looking.run(() => this.#look())
      const taken = new Set<FoundLetter>()
      try {
        await this.#looking.run(async () => {
          this.#sweepingLook = look
          for (const one of await this.#takeAll(look, signal)) taken.add(one)
          this.#taken = taken
        })
        // All letters are taken before the first is handed over: a replayed letter may come back with the same id and
        // reason.
        const found = [...taken].filter(({ letter }) => fits(letter, filter))
        const later = new Set(found.flatMap(tagsOf))
        for (let at = 0; at < found.length && !signal.aborted; at += lettersAtATime) {
          const part = found.slice(at, at + lettersAtATime)
          const answers = await unlessAborted(handle(part.map(({ letter }) => letter)), signal)
          if (signal.aborted || !answers) return
          const done = part.filter((_, i) => answers[i] === true)
          for (const tag of part.flatMap(tagsOf)) later.delete(tag)
          await this.#remove(look, new Set(done.flatMap(tagsOf)), later)
          for (const one of done) taken.delete(one)
        }
      } finally {
        await this.#looking.run(async () => {
          await look.end()
          this.#taken = new Set()
          this.#sweepingLook = undefined
        })
      }
    })
  }

  /** Takes all letters, oldest first, each as a separate AMQP message. */
  async #takeAll(look: LetterLookup, signal: AbortSignal): Promise<FoundLetter[]> {
    for (;;) {
      const batches: Delivered[] = []
      const found = await this.#scan(look, { filter: {}, limit: Infinity, known: [], signal, batches })
      if (batches.length === 0 || signal.aborted) return found
      for (const got of batches) await this.put(this.#letters(got))
      await this.#remove(look, new Set(batches.map(tagOf)), new Set())
      await look.putBack()
    }
  }

  async #remove(look: LetterLookup, done: ReadonlySet<number>, later: ReadonlySet<number>): Promise<void> {
    await look.release(done, later)
    this.#known -= done.size
  }

  /** Returns the newest `limit` letters that fit, oldest first. Known letters are included. */
  async #scan(look: LetterLookup, { filter, limit, known, signal, batches }: Scan): Promise<FoundLetter[]> {
    const found = known.filter(({ letter }) => fits(letter, filter))
    const twinsOf = new Map(known.map(({ letter }) => [keyOf(letter), [] as Delivered[]]))
    let bytes = 0
    const heldBySweep = () => (this.#sweepingLook === look ? 0 : (this.#sweepingLook?.held ?? 0))
    const least = () => this.#known - heldBySweep()
    const total = await look.take(least, signal, got => {
      const letters = this.#letters(got)
      if (batches && letters.length > 1) {
        batches.push(got)
        return true
      }
      for (const letter of letters) {
        const key = keyOf(letter)
        const twins = twinsOf.get(key)
        if (twins) {
          twins.push(got)
          continue
        }
        const one: FoundLetter = { letter, got, twins: [] }
        twinsOf.set(key, one.twins)
        if (!fits(letter, filter)) continue
        found.push(one)
        bytes += heldBytes(letter.message)
      }
      if (found.length >= limit * 2 + 1_000) {
        keepNewest(found, limit)
        bytes = found.reduce((sum, { letter }) => sum + heldBytes(letter.message), 0)
      }
      return bytes < maxBytes
    })
    this.#known = total + heldBySweep()
    keepNewest(found, limit)
    return found
  }

  #letters(got: Delivered): DeadLetter[] {
    const { headers = {} } = got.properties
    const now = this.#options.clock.now()
    const { messages, rejection } = unpack(got, this.#options.hubId, now)
    const death = firstDeath(headers)
    return messages.map(message => ({
      message: { ...message, packetId: integer(headers['packet-id'], message.packetId) },
      reason:
        text(headers.reason, maxReason) || rejection?.reason || text(headers['x-first-death-reason']) || 'unknown',
      detail: text(headers.detail) || rejection?.detail || death.detail,
      ...(headers.partly === true && { partly: true }),
      failedAt: integer(headers['failed-at'], death.time ?? message.receivedAt),
      attempts: integer(headers.attempts, 1),
    }))
  }

  async #look(): Promise<LetterLookup> {
    const { connection } = this.#options
    const channel = await connection.channel(model => model.createChannel())
    try {
      // The check ends the channel when an operator has deleted the queue; a new connection declares the queue again.
      await channel.checkQueue(queues.dead)
    } catch (error) {
      connection.reset()
      throw unavailable(error)
    }
    return new LetterLookup(channel)
  }
}

/** One examination of the queue. Each has a separate channel. */
class LetterLookup {
  readonly #channel: Channel
  /** Delivery tags, ascending. All tags before index `#next` are released; of the others, those in `#removed`. */
  #tags: number[] = []
  #next = 0
  readonly #removed = new Set<number>()
  #hasReleased = false

  constructor(channel: Channel) {
    this.#channel = channel
  }

  /** Number of AMQP messages taken and neither removed nor put back. */
  get held(): number {
    return this.#tags.length - this.#next - this.#removed.size
  }

  /**
   * Passes the AMQP messages that are in the queue now to `each`, until `each` returns false. Removes none. While there
   * are fewer than `least`, tries again for a while. Resolves with the number of AMQP messages that are held now or
   * still in the queue.
   */
  async take(least: () => number, signal: AbortSignal | undefined, each: (got: Delivered) => boolean): Promise<number> {
    try {
      let isEnough = false
      const hand = (got: Delivered) => {
        isEnough = !each(got)
        return !isEnough
      }
      let left = 0
      for (let tries = 1; ; tries++) {
        const got = await this.#channel.get(queues.dead)
        left = got ? got.fields.messageCount : 0
        if (got) this.#tags.push(tagOf(got))
        if (got) hand(got)
        if (this.held + left >= least() || isEnough || tries === maxTries || signal?.aborted) break
        await sleep(retryMs)
      }
      const total = this.held + left
      await this.#channel.prefetch(consumerLetters)
      left = isEnough || signal?.aborted ? 0 : Math.min(left, maxLetters - this.held)
      while (left > 0) {
        const most = Math.min(left, consumerLetters)
        const taken = await this.#takePart(most, signal, hand)
        // The queue reported more: another hub is examining those, or enough were taken.
        left = taken < most ? 0 : left - taken
      }
      return Math.max(total, this.held)
    } catch (error) {
      throw unavailable(error)
    }
  }

  /** Takes messages with a new consumer. Resolves with the number of messages passed to `each`. */
  async #takePart(most: number, signal: AbortSignal | undefined, each: (got: Delivered) => boolean): Promise<number> {
    const ended = new AbortController()
    const end = () => ended.abort()
    const finished = new Promise<void>(resolve => ended.signal.addEventListener('abort', () => resolve()))
    let taken = 0
    const late = setTimeout(end, silenceMs)
    this.#channel.once('close', end)
    signal?.addEventListener('abort', end)
    if (signal?.aborted) end()
    try {
      const { consumerTag } = await this.#channel.consume(queues.dead, got => {
        if (got === null) return end()
        this.#tags.push(tagOf(got))
        if (ended.signal.aborted) return
        late.refresh()
        if (!each(got) || ++taken === most) end()
      })
      await finished
      await this.#channel.cancel(consumerTag)
      return taken
    } finally {
      clearTimeout(late)
      this.#channel.removeListener('close', end)
      signal?.removeEventListener('abort', end)
    }
  }

  /**
   * Removes the messages in `done`, and puts back the others up to the first that is needed `later`. RabbitMQ finds a
   * message at once only when this channel holds none that was delivered earlier.
   */
  async release(done: ReadonlySet<number>, later: ReadonlySet<number>): Promise<void> {
    if (done.size === 0) return
    this.#hasReleased = true
    try {
      let run: { tag: number; remove: boolean } | undefined
      const end = () => {
        if (run?.remove) this.#channel.ack(delivered(run.tag), true)
        else if (run) this.#channel.nack(delivered(run.tag), true, true)
      }
      for (; this.#next < this.#tags.length; this.#next++) {
        const tag = this.#tags[this.#next] as number
        if (later.has(tag)) break
        if (this.#removed.delete(tag)) continue
        const remove = done.has(tag)
        if (run && run.remove !== remove) end()
        run = { tag, remove }
      }
      end()
      const first = this.#tags[this.#next] ?? Infinity
      for (const tag of done) {
        if (tag < first) continue
        this.#channel.ack(delivered(tag))
        this.#removed.add(tag)
      }
      // RabbitMQ answers after processing everything sent on this channel before.
      await this.#channel.checkQueue(queues.dead)
    } catch (error) {
      throw unavailable(error)
    }
  }

  /** Puts back all messages that were not removed. They are on their way into their places when this resolves. */
  async putBack(): Promise<void> {
    try {
      if (this.held > 0) this.#channel.nackAll(true)
      // RabbitMQ answers after passing on everything sent on this channel before.
      await this.#channel.checkQueue(queues.dead)
      this.#tags = []
      this.#next = 0
      this.#removed.clear()
    } catch (error) {
      throw unavailable(error)
    }
  }

  async end(): Promise<void> {
    // On a lost channel RabbitMQ puts everything back without being asked.
    const close = () => this.#channel.close()
    const putBack = this.putBack()
    if (!this.#hasReleased) await putBack.then(close).catch(() => {})
    else {
      await putBack.catch(() => {})
      setTimeout(
        () =>
          void Promise.resolve()
            .then(close)
            .catch(() => {}),
        lingerMs,
      ).unref()
    }
  }
}

function tagOf({ fields }: Delivered): number {
  return fields.deliveryTag
}

function tagsOf({ got, twins }: FoundLetter): number[] {
  return [tagOf(got), ...twins.map(tagOf)]
}

/** Returns the part of a delivery that the driver needs for an acknowledgement. */
function delivered(deliveryTag: number): Delivered {
  return { fields: { deliveryTag } } as Delivered
}

/** Returns the key of a letter. A letter that was put twice has one key, and is listed once. */
function keyOf({ message, reason }: DeadLetter): string {
  return `${messageId(message)} ${reason}`
}

/** Sorts by time, in the queue's order where times are equal, and drops the oldest beyond `limit`. */
function keepNewest(found: FoundLetter[], limit: number): void {
  found.sort((a, b) => a.letter.failedAt - b.letter.failedAt)
  found.splice(0, Math.max(0, found.length - limit))
}

/** Returns what RabbitMQ recorded when dead-lettering a message first. */
function firstDeath(headers: Readonly<Record<string, unknown>>): { detail: string; time: number | undefined } {
  const deaths: unknown = headers['x-death']
  const death: Record<string, unknown> | undefined = Array.isArray(deaths) ? deaths.at(-1) : undefined
  if (!death) return { detail: '', time: undefined }
  const seconds = integer((death.time as { value?: unknown } | undefined)?.value, 0)
  const detail = `RabbitMQ dead-lettered it from ${text(headers['x-first-death-queue'])}: ${text(headers['x-first-death-reason'])}`
  return { detail, time: seconds > 0 ? seconds * 1e6 : undefined }
}
