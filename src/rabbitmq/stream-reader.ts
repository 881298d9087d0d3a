import type { BusPlace, PlaceKeeper } from '../cluster/bus.js'
import type { Message, Rejection } from '../model.js'
import { type Batch, type QueueReader, Wakeup } from '../queue/queue.js'
import type { MicrosecondClock } from '../runtime/time.js'
import { type Channel, type Delivered, type RabbitConnection, unavailable } from './connection.js'
import { integer, text, unpack } from './message.js'

export interface StreamReaderOptions {
  readonly stream: string
  readonly connection: RabbitConnection
  readonly hubId: string
  readonly keeper: PlaceKeeper
  /** Returns the time, in microseconds. */
  readonly clock: MicrosecondClock
}

/** AMQP messages in hand, each a batch of messages: about 6 MB. */
const prefetch = 100

/** Time in which the record at the place comes, which the reader has read before. */
const anchorMs = 5_000

/** A batch of the stream. */
interface PlacedBatch {
  readonly got: Delivered
  readonly place: BusPlace
}

/**
 * Reads a stream of batches from a place that is kept elsewhere. The record at the place is read again each time: when
 * another one is there, or none, the end of the stream was lost (RabbitMQ does not sync streams to disk), offsets are used
 * for the second time, and the reader begins with the oldest record. Who reads must recognise what came before.
 */
export class StreamReader implements QueueReader {
  readonly #options: StreamReaderOptions
  readonly #wakeup = new Wakeup()
  #channel: Channel | undefined
  #arrived: PlacedBatch[] = []
  /** The record that has to come first. Undefined once that has come, and without one. */
  #anchor: BusPlace | undefined
  #anchorTimer: NodeJS.Timeout | undefined
  /** Whether to begin with the oldest record, whatever the place. */
  #fromFirst = false

  constructor(options: StreamReaderOptions) {
    this.#options = options
  }

  async next(limit: number, signal: AbortSignal): Promise<Batch | undefined> {
    for (;;) {
      if (signal.aborted) {
        clearTimeout(this.#anchorTimer)
        return undefined
      }
      await this.#consume()
      if (this.#arrived.length > 0) return this.#deliver(limit)
      // The channel may have been left while it was opened: nothing would wake the reader then.
      if (this.#channel) await this.#wakeup.sleep(signal)
    }
  }

  #deliver(limit: number): Batch {
    const { hubId, clock, keeper } = this.#options
    const channel = this.#channel as Channel
    const messages: Message[] = []
    const rejected = new Map<number, Rejection>()
    let last: PlacedBatch | undefined
    let count = 0
    for (const parcel of this.#arrived) {
      const unpacked = unpack(parcel.got, hubId, clock.now())
      if (messages.length > 0 && messages.length + unpacked.messages.length > limit) break
      if (unpacked.rejection) rejected.set(messages.length, unpacked.rejection)
      for (const message of unpacked.messages) messages.push(message)
      last = parcel
      count++
    }
    this.#arrived.splice(0, count)
    return {
      messages,
      ...(rejected.size > 0 && { rejected }),
      settle: () => {
        if (!last) return
        keeper.passed(last.place)
        if (channel !== this.#channel) return
        try {
          channel.ack(last.got, true)
        } catch {
          this.#forget(channel)
        }
      },
    }
  }

  async #consume(): Promise<void> {
    if (this.#channel) return
    const { stream, connection, keeper } = this.#options
    const channel = await connection.channel(model => model.createChannel())
    channel.on('close', () => this.#forget(channel))
    try {
      await channel.prefetch(prefetch)
      const place = this.#fromFirst ? undefined : keeper.place
      this.#fromFirst = false
      this.#channel = channel
      this.#anchor = place
      if (place) this.#anchorTimer = setTimeout(() => this.#lostEnd(channel, 'ends before this place'), anchorMs)
      await channel.consume(
        stream,
        got => {
          if (this.#channel !== channel) return
          // Null: this node has no replica of the stream any more, or the stream was deleted.
          if (got === null) {
            this.#forget(channel)
            connection.reset()
          } else this.#arrive(channel, got)
        },
        { arguments: { 'x-stream-offset': place ? place.offset : 'first' } },
      )
    } catch (error) {
      this.#forget(channel)
      connection.reset()
      throw unavailable(error)
    }
  }

  #arrive(channel: Channel, got: Delivered): void {
    const place = {
      offset: integer(got.properties.headers?.['x-stream-offset'], 0),
      id: text(got.properties.messageId),
    }
    const anchor = this.#anchor
    if (anchor) {
      clearTimeout(this.#anchorTimer)
      this.#anchor = undefined
      if (place.offset === anchor.offset && place.id === anchor.id) return void channel.ack(got)
      if (place.offset <= anchor.offset) {
        this.#lostEnd(channel, `has another record at offset ${anchor.offset}`)
        return
      }
      this.#options.keeper.broken(
        `it begins at offset ${place.offset}, and this hub was away since ${anchor.offset}: what other hubs sent in between is missing here`,
      )
    }
    this.#arrived.push({ got, place })
    this.#wakeup.wake()
  }

  /** Begins anew with the oldest record. */
  #lostEnd(channel: Channel, what: string): void {
    if (this.#channel !== channel) return
    this.#options.keeper.broken(`it ${what}: RabbitMQ has lost its end. It is read again from its beginning`)
    this.#fromFirst = true
    this.#forget(channel)
    channel.close().catch(() => {})
  }

  #forget(channel: Channel): void {
    if (this.#channel !== channel) return
    clearTimeout(this.#anchorTimer)
    this.#channel = undefined
    this.#arrived = []
    this.#wakeup.wake()
  }
}
