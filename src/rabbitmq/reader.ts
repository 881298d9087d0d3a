import type { Message, Rejection } from '../model.js'
import { type Batch, type QueueReader, Wakeup } from '../queue/queue.js'
import type { MicrosecondClock } from '../runtime/time.js'
import { type Channel, type Delivered, type RabbitConnection, unavailable } from './connection.js'
import { integer, type Unpacked, unpack } from './message.js'

export interface ReaderOptions {
  readonly queue: string
  readonly connection: RabbitConnection
  readonly hubId: string
  /** Most AMQP messages held without an acknowledgement. Each may be a batch. */
  readonly prefetch: number
  /** Returns the time, in microseconds. */
  readonly clock: MicrosecondClock
}

/** Most bytes of bodies and headers held without an acknowledgement. Beyond this, messages go back to RabbitMQ. */
const bytesInHand = 64 * 1024 * 1024

/** A received AMQP message. `taken` counts the messages in the body that were delivered. */
interface Parcel {
  readonly got: Delivered
  readonly bytes: number
  readonly redeliveries: number
  /** Undefined until the first message of the parcel is needed. */
  unpacked: Unpacked | undefined
  taken: number
}

/**
 * A consumer on one queue. Deliveries settle in order, so one acknowledgement settles all earlier ones. An AMQP message
 * with many messages may be spread over several deliveries, and is acknowledged when the last of them is settled.
 *
 * A message that crashes the process each time comes back with everything that was in hand. Such a message is found by
 * `queue/suspects.ts`, whose record is on the disk of one machine. On another machine, or on a new disk, smaller and
 * smaller deliveries of the redelivered messages do the same. The number of messages in hand stays the same: a consumer
 * that holds fewer than the last one would change their order.
 *
 * No new delivery is taken while one is unsettled and the channel is lost. RabbitMQ closes the channel of a consumer
 * that holds a message for half an hour: so one outage of the store counts once, not every half hour.
 *
 * When more than 64 MB of bodies and headers are in hand, they go back to RabbitMQ, and come again in smaller portions.
 *
 * The order survives restarts and failover as long as the next consumer takes at least as many at a time as the last
 * one: RabbitMQ puts returned messages behind those that were returned earlier and not delivered again since.
 */
export class RabbitReader implements QueueReader {
  readonly #options: ReaderOptions
  readonly #wakeup = new Wakeup()
  #channel: Channel | undefined
  #closing: Promise<void> = Promise.resolve()
  /** AMQP messages that were not delivered completely. */
  #arrived: Parcel[] = []
  /** AMQP messages without an acknowledgement, and their bytes. */
  #held = 0
  #bytes = 0
  /** Size of the largest recent AMQP message; decreases a little with each message. */
  #largest = 0
  /** Prefetch count of the open channel. */
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
      // The channel may have been lost while it was opened: nothing would wake the reader then.
      if (this.#channel) await this.#wakeup.sleep(signal)
    }
  }

  #take(limit: number, halves: boolean): Taken {
    const redeliveries = this.#arrived[0]?.redeliveries ?? 0
    const taken: Taken = { messages: [], rejected: new Map(), done: [], redeliveries }
    let most = limit
    let parcels = 0
    for (const parcel of this.#arrived) {
      if (halves) most = Math.min(most, Math.max(1, Math.floor(limit / 2 ** parcel.redeliveries)))
      if (taken.messages.length >= most) break
      const { messages, rejection } = this.#unpacked(parcel)
      if (rejection) taken.rejected.set(taken.messages.length, rejection)
      moveTo(taken, parcel, messages, most)
      if (parcel.taken === messages.length) parcels++
    }
    this.#arrived.splice(0, parcels)
    return taken
  }

  #deliver({ messages, rejected, done, redeliveries }: Taken): Batch {
    const channel = this.#channel
    return {
      messages,
      redeliveries,
      ...(rejected.size > 0 && { rejected }),
      settle: () => {
        const last = done.at(-1)
        // On a lost channel there is nothing to acknowledge. RabbitMQ delivers the messages again, and writing them
        // again changes nothing.
        if (!last || !channel || channel !== this.#channel) return
        try {
          channel.ack(last.got, true)
        } catch {
          // The connection is being closed. RabbitMQ delivers the messages again, and they are recognized then.
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
   * Returns to a larger prefetch after large messages. Not while redelivered messages are in hand: RabbitMQ puts
   * returned messages behind those returned earlier, so none of the earlier ones may be left.
   */
  #relax(channel: Channel, settled: Parcel): void {
    if (settled.redeliveries > 0 || this.#arrived.some(({ redeliveries }) => redeliveries > 0)) return
    if (this.#prefetch * 4 > this.#wantedPrefetch()) return
    this.#lose(channel)
  }

  #unpacked(parcel: Parcel): Unpacked {
    parcel.unpacked ??= unpack(parcel.got, this.#options.hubId, this.#options.clock.now())
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
        // Null: the queue was deleted; a new connection declares the queue again.
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
    // Takes fewer at a time, starting with all of these: AMQP has no other way to take less.
    if (this.#bytes > bytesInHand && this.#held > 1) {
      this.#largest = Math.max(this.#largest, this.#bytes / this.#held)
      this.#lose(channel)
    }
    this.#wakeup.wake()
  }

  /** Returns how many messages of the largest recent size fill half of the bytes allowed in hand. */
  #wantedPrefetch(): number {
    const fitting = Math.floor(bytesInHand / 2 / Math.max(1, this.#largest))
    return Math.max(1, Math.min(this.#options.prefetch, fitting))
  }

  /**
   * Gives the unacknowledged messages back by closing the channel. Cancelling would not do: another consumer would
   * continue behind the messages that are still held here.
   */
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

/** Levels of header values to measure: a table, an array of pairs in the table, and the contents of a pair. */
const headerDepth = 3
const valueBytes = 64

/** Returns the approximate bytes of a value in memory: many short values take far more than on the wire. */
function weightOf(value: unknown, depth: number): number {
  if (typeof value === 'string' || Buffer.isBuffer(value)) return value.length
  if (typeof value !== 'object' || value === null || depth === 0) return 0
  let bytes = 0
  for (const one of Object.values(value)) bytes += valueBytes + weightOf(one, depth - 1)
  return bytes
}

interface Taken {
  readonly messages: Message[]
  readonly rejected: Map<number, Rejection>
  /** Parcels whose last message is in `messages`. */
  readonly done: Parcel[]
  /** Redelivery count of the first message. */
  readonly redeliveries: number
}

function moveTo(taken: Taken, parcel: Parcel, messages: readonly Message[], most: number): void {
  const end = Math.min(messages.length, parcel.taken + most - taken.messages.length)
  for (let i = parcel.taken; i < end; i++) taken.messages.push(messages[i] as Message)
  parcel.taken = end
  if (end === messages.length) taken.done.push(parcel)
}
