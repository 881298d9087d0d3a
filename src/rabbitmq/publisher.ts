import { HubError } from '../errors.js'
import { type RabbitConnection, unavailable } from './connection.js'
import { FrameWriter, type Outgoing } from './frames.js'
import { PublishChannel } from './publish-channel.js'

/** Messages encoded before other work of this thread, and the socket, get a turn. */
const atOnce = 250

/** Bytes of frames that go to the channel in one piece, unless a single message has more. */
const chunkBytes = 64 * 1_024

/** Share of the window that a full window empties to: many messages in one write, instead of one for each confirm. */
const refillShare = 0.75

/** Chunks that wait for the socket before the channel is full. */
const maxChunks = 16

/** Longest time without a confirm while RabbitMQ takes messages. */
const confirmMs = 60_000

interface Open {
  readonly channel: PublishChannel
  readonly frames: FrameWriter
  /** Routing keys of all messages returned on this channel. */
  readonly returned: string[]
}

/** Publishes and waits for the confirms, on one channel that is opened on first use. */
export class RabbitPublisher {
  readonly #connection: RabbitConnection
  readonly #window: number
  readonly #unroutable: () => void
  #open: Promise<Open> | undefined
  /** Resolves when all messages of the last call were handed to the channel, or the call has failed. */
  #handedOver: Promise<void> = Promise.resolve()

  /** `window`: most AMQP messages of one call without a confirm. `unroutable`: called when no queue took a message. */
  constructor(connection: RabbitConnection, window: number, unroutable: () => void) {
    this.#connection = connection
    this.#window = window
    this.#unroutable = unroutable
  }

  /**
   * Resolves when RabbitMQ has confirmed all messages, in order, behind those of earlier calls, and a queue has taken
   * each `mandatory` one. Rejects when any of them may be missing: then the connection is dropped, and the next call
   * starts with a new one.
   */
  async publish(outgoing: Iterable<Outgoing>): Promise<void> {
    const earlier = this.#handedOver
    let handedOver = () => {}
    this.#handedOver = new Promise(resolve => {
      handedOver = resolve
    })
    await earlier
    await this.#publish(outgoing, handedOver).finally(handedOver)
  }

  async #publish(outgoing: Iterable<Outgoing>, handedOver: () => void): Promise<void> {
    this.#open ??= this.#opened()
    const opened = this.#open
    try {
      const { channel, frames, returned } = await opened
      const before = returned.length
      await this.#confirmed(channel, frames, outgoing, handedOver)
      // A message that no queue takes is confirmed like any other, after being returned.
      const lost = returned.length - before
      if (lost === 0) return
      this.#unroutable()
      throw new HubError(
        'queue_unavailable',
        `RabbitMQ: no queue took ${lost} messages, the first with routing key ${returned[before]}`,
      )
    } catch (error) {
      // Any failure makes the next connection declare exchanges and queues anew. Reset once: other callers may have a
      // new channel already.
      if (this.#open === opened || !this.#open) {
        this.#open = undefined
        this.#connection.reset()
      }
      throw unavailable(error)
    }
  }

  #confirmed(
    channel: PublishChannel,
    frames: FrameWriter,
    outgoing: Iterable<Outgoing>,
    handedOver: () => void,
  ): Promise<void> {
    return new Promise<void>((resolve, reject) => {
      const waiting = outgoing[Symbol.iterator]()
      let published = 0
      let confirmed = 0
      let seen = 0
      let ended = false
      let scheduled = false
      let isFull = false
      const refillAt = Math.floor(this.#window * refillShare)
      const timer = setInterval(() => {
        const { isBlocked } = this.#connection
        if (confirmed === seen && !isBlocked) end(() => reject(new Error(`no confirm for ${confirmMs / 1000} s`)))
        // A silence counts only from when RabbitMQ takes messages again.
        seen = isBlocked ? -1 : confirmed
      }, confirmMs)
      const end = (how: () => void) => {
        ended = true
        clearInterval(timer)
        how()
      }
      const schedule = () => {
        if (scheduled || ended || isFull) return
        scheduled = true
        setImmediate(publishSome)
      }
      const onConfirm = (error: unknown) => {
        if (error) return end(() => reject(error))
        confirmed++
        if (published - confirmed <= refillAt) schedule()
      }
      const send = () => {
        if (frames.waiting === 0 || channel.send(frames.take())) return
        isFull = true
        channel.onceDrained(() => {
          isFull = false
          schedule()
        })
      }
      const publishSome = () => {
        scheduled = false
        if (ended) return
        try {
          for (let n = 0; n < atOnce && !isFull && published - confirmed < this.#window; n++) {
            const { done, value } = waiting.next()
            if (done) {
              send()
              handedOver()
              if (confirmed === published) end(resolve)
              return
            }
            value.writeTo(frames)
            channel.expectConfirm(onConfirm)
            published++
            if (frames.waiting >= chunkBytes) send()
          }
          send()
        } catch (error) {
          end(() => reject(error))
        }
        // When the window or the channel is full, the next confirm or the drained channel continues.
        if (published - confirmed < this.#window) schedule()
      }
      publishSome()
    })
  }

  async #opened(): Promise<Open> {
    const opened = await this.#connection.channel(model => model.createConfirmChannel({ highWaterMark: maxChunks }))
    const channel = new PublishChannel(opened)
    const open: Open = { channel, frames: new FrameWriter(channel.number, channel.frameMax), returned: [] }
    const opening = this.#open
    opened.on('return', ({ fields }) => open.returned.push((fields as { routingKey: string }).routingKey))
    opened.on('close', () => {
      if (this.#open === opening) this.#open = undefined
    })
    return open
  }
}
