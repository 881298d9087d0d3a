import type { Message, Rejection } from '../model.js'
import { type Batch, type QueueReader, Wakeup } from '../queue/queue.js'
import { type Channel, type Connection, type Delivered, unavailable } from './connection.js'
import { integer, type Unpacked, unpack } from './message.js'

export interface ReaderOptions {
  readonly queue: string
  readonly connection: Connection
  readonly hubId: string
  /** AMQP messages, which may be batches. */
  readonly prefetch: number
  /** Microseconds. */
  readonly now: () => number
}

/** Bodies and headers in hand, at most; what is above goes back to RabbitMQ. */
const bytesInHand = 64 * 1024 * 1024

/** An AMQP message that has arrived, and how much of it was handed out. */
interface Parcel {
  readonly got: Delivered
  readonly bytes: number
  readonly redeliveries: number
  /** Unpacked when its turn comes. */
  unpacked: Unpacked | undefined
  taken: number
}

/**
 * A consumer on one queue. Deliveries settle in order, so one acknowledgement settles all before it. An AMQP message
 * with many messages may be spread over several deliveries; it is acknowledged when the last of them is settled.
 *
 * A message that ends the process each time it is handled comes back with everything that was in hand. It is found by
 * `queue/suspects.ts`, whose record is on the disk of one machine; on another machine, or on a new disk, smaller and
 * smaller deliveries of what came back do the same. As many as ever are in hand: a consumer that holds fewer than the last
 * one would change their order.
 *
 * Nothing is taken while a delivery is unsettled and the channel is lost, as RabbitMQ does to consumers that hold
 * something for half an hour: so one outage of the store counts once, not every half hour.
 *
 * More than 64 MB of bodies and headers in hand go back to RabbitMQ, and come again in smaller portions.
 *
 * The order survives restarts and failover as long as the next consumer takes at least as many at a time as the last
 * one: RabbitMQ puts what comes back behind what came back before and was not delivered again since.
 */
export class Reader implements QueueReader {
  readonly #options: ReaderOptions
  readonly #wakeup = new Wakeup()
  #channel: Channel | undefined
  #closing: Promise<void> = Promise.resolve()
  /** Those whose messages are not all handed out. */
  #arrived: Parcel[] = []
  /** What is not acknowledged, and its bytes. */
  #held = 0
  #bytes = 0
  /** Of the last messages, the largest; forgotten little by little. */
  #largest = 0
  /** Of the open channel. */
  #prefetch: number

  constructor(options: ReaderOptions) {
    this.#options = options
    this.#prefetch = options.prefetch
  }

  async next(limit: number, signal: AbortSignal, halves = false): Promise<Batch | undefined> {
    for (;;) {
      if (signal.aborted) return undefined
      await this.#consume()
      if (this.#arrived.length > 0) return this.#deliver(this.#take(limit, halves))
      await this.#wakeup.sleep(signal)
    }
  }

  #take(limit: number, halves: boolean): Taken {
    const redeliveries = this.#arrived[0]?.redeliveries ?? 0
    const taken: Taken = { messages: [], exhausted: new Map(), done: [], redeliveries }
    let most = limit
    let parcels = 0
    for (const parcel of this.#arrived) {
      if (halves) most = Math.min(most, Math.max(1, Math.floor(limit / 2 ** parcel.redeliveries)))
      if (taken.messages.length >= most) break
      const { messages, rejection } = this.#unpacked(parcel)
      if (rejection) taken.exhausted.set(taken.messages.length, rejection)
      moveTo(taken, parcel, messages, most)
      if (parcel.taken === messages.length) parcels++
    }
    this.#arrived.splice(0, parcels)
    return taken
  }

  #deliver({ messages, exhausted, done, redeliveries }: Taken): Batch {
    const channel = this.#channel
    return {
      messages,
      redeliveries,
      ...(exhausted.size > 0 && { exhausted }),
      settle: () => {
        const last = done.at(-1)
        // On a lost channel there is nothing to acknowledge: RabbitMQ delivers again, and writing again changes nothing.
        if (!last || !channel || channel !== this.#channel) return
        try {
          channel.ack(last.got, true)
        } catch {
          // The connection is being closed: it is delivered again, and known then.
          this.#forget(channel)
          return
        }
        this.#held -= done.length
        for (const { bytes } of done) this.#bytes -= bytes
        this.#relax(channel, last)
      },
    }
  }

  /**
   * Takes more at a time again after large messages. Not while something comes that has come before: RabbitMQ puts what
   * it gets back behind what it got back earlier, so there must be nothing left of that.
   */
  #relax(channel: Channel, settled: Parcel): void {
    if (settled.redeliveries > 0 || this.#arrived.some(({ redeliveries }) => redeliveries > 0)) return
    if (this.#prefetch * 4 > this.#wantedPrefetch()) return
    this.#lose(channel)
  }

  #unpacked(parcel: Parcel): Unpacked {
    parcel.unpacked ??= unpack(parcel.got, this.#options.hubId, this.#options.now())
    return parcel.unpacked
  }

  async #consume(): Promise<void> {
    if (this.#channel) return
    const { queue, connection } = this.#options
    await this.#closing
    const channel = await connection.channel(model => model.createChannel())
    channel.on('close', () => this.#forget(channel))
    try {
      this.#prefetch = this.#wantedPrefetch()
      await channel.prefetch(this.#prefetch)
      this.#channel = channel
      await channel.consume(queue, got => {
        if (this.#channel !== channel) return
        // Null: the queue was deleted; a new connection declares it again.
        if (got === null) {
          this.#forget(channel)
          connection.reset()
        } else this.#arrive(channel, got)
      })
    } catch (error) {
      this.#forget(channel)
      connection.reset()
      throw unavailable(error)
    }
  }

  #arrive(channel: Channel, got: Delivered): void {
    const size = got.content.length + weightOf(got.properties.headers, headerDepth)
    const redeliveries = integer(got.properties.headers?.['x-delivery-count'], 0)
    this.#arrived.push({ got, bytes: size, redeliveries, unpacked: undefined, taken: 0 })
    this.#held++
    this.#bytes += size
    this.#largest = Math.max(size, this.#largest * 0.97)
    // Fewer at a time, and all of these again: AMQP has no other way to take less.
    if (this.#bytes > bytesInHand && this.#held > 1) {
      this.#largest = Math.max(this.#largest, this.#bytes / this.#held)
      this.#lose(channel)
    }
    this.#wakeup.wake()
  }

  /** As many of that size as are half of what may be in hand. */
  #wantedPrefetch(): number {
    const fitting = Math.floor(bytesInHand / 2 / Math.max(1, this.#largest))
    return Math.max(1, Math.min(this.#options.prefetch, fitting))
  }

  /** Gives back what is not acknowledged. Not by cancelling: another consumer would go on behind what we still hold. */
  #lose(channel: Channel): void {
    this.#forget(channel)
    this.#closing = Promise.race([
      channel.close().catch(() => {}),
      new Promise<void>(resolve => channel.once('close', resolve)),
    ])
  }

  #forget(channel: Channel): void {
    if (this.#channel !== channel) return
    this.#channel = undefined
    this.#arrived = []
    this.#held = 0
    this.#bytes = 0
    this.#wakeup.wake()
  }
}

/** A table, an array of pairs in it, and what is in a pair. */
const headerDepth = 3
const valueBytes = 64

/** Bytes in memory, about: many short values take far more than they had on the wire. */
function weightOf(value: unknown, depth: number): number {
  if (typeof value === 'string' || Buffer.isBuffer(value)) return value.length
  if (typeof value !== 'object' || value === null || depth === 0) return 0
  let bytes = 0
  for (const one of Object.values(value)) bytes += valueBytes + weightOf(one, depth - 1)
  return bytes
}

interface Taken {
  readonly messages: Message[]
  readonly exhausted: Map<number, Rejection>
  /** Parcels whose last message is among them. */
  readonly done: Parcel[]
  /** Of the first message. */
  readonly redeliveries: number
}

function moveTo(taken: Taken, parcel: Parcel, messages: readonly Message[], most: number): void {
  const end = Math.min(messages.length, parcel.taken + most - taken.messages.length)
  for (let i = parcel.taken; i < end; i++) taken.messages.push(messages[i] as Message)
  parcel.taken = end
  if (end === messages.length) taken.done.push(parcel)
}
