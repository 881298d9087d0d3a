import { HubError } from '../errors.js'
import { type ConfirmChannel, type RabbitConnection, unavailable } from './connection.js'
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

/** Channels of a connection that are left for other uses. */
const spareChannels = 2

export interface PublisherOptions {
  readonly connection: RabbitConnection
  /** Most AMQP messages of one call without a confirm. */
  readonly window: number
  /**
   * Channels for the messages with an `order`, which are spread over them by that text. 0: one channel for all
   * messages. A channel of RabbitMQ takes nothing more once a quorum queue owes the channel 32 answers
   * (`quorum_commands_soft_limit`), and then the whole connection waits. On many channels fewer messages are owed on
   * each.
   */
  readonly lanes: number
}

export interface UnroutableListener {
  /** Called when no queue took a message that must not be lost. */
  onUnroutable(): void
}

/** The open channels, all on one connection. They open and close together. */
interface Open {
  /** The first one has the messages without an order. */
  readonly channels: readonly [PublishChannel, ...PublishChannel[]]
  /** One writer for all channels: so a write to the socket has the messages of many channels, in the order of the calls. */
  readonly frames: FrameWriter
  /** Routing keys of all messages returned on these channels. */
  readonly returned: string[]
}

/** Publishes and waits for the confirms, on channels that are opened on first use. */
export class RabbitPublisher {
  readonly #options: PublisherOptions
  readonly #listener: UnroutableListener | undefined
  #open: Promise<Open> | undefined
  /** Resolves when all messages of the last call were handed to the channel, or the call has failed. */
  #handedOver: Promise<void> = Promise.resolve()

  constructor(options: PublisherOptions, listener?: UnroutableListener) {
    this.#options = options
    this.#listener = listener
  }

  /**
   * Resolves when RabbitMQ has confirmed all messages, and a queue has taken each `mandatory` one. Messages of the same
   * `order` keep their order, behind those of earlier calls. Rejects when any of them may be missing: then the connection is dropped, and the next call
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
      const open = await opened
      const { returned } = open
      const before = returned.length
      await this.#confirmed(open, outgoing, handedOver)
      // A message that no queue takes is confirmed like any other, after being returned.
      const lost = returned.length - before
      if (lost === 0) return
      this.#listener?.onUnroutable()
      throw new HubError(
        'queue_unavailable',
        `RabbitMQ: no queue took ${lost} messages, the first with routing key ${returned[before]}`,
      )
    } catch (error) {
      // Any failure makes the next connection declare exchanges and queues anew. Reset once: other callers may have a
      // new channel already.
      if (this.#open === opened || !this.#open) {
        this.#open = undefined
        this.#options.connection.reset()
      }
      throw unavailable(error)
    }
  }

  #confirmed(open: Open, outgoing: Iterable<Outgoing>, handedOver: () => void): Promise<void> {
    const { connection, window } = this.#options
    const { channels, frames } = open
    return new Promise<void>((resolve, reject) => {
      const waiting = outgoing[Symbol.iterator]()
      let published = 0
      let confirmed = 0
      let seen = 0
      let ended = false
      let scheduled = false
      let isFull = false
      const refillAt = Math.floor(window * refillShare)
      const timer = setInterval(() => {
        const { isBlocked } = connection
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
        if (frames.waiting === 0) return
        // The server ends the connection at a frame for a channel that is closed, and nothing may be missing.
        if (!channels.every(({ isOpen }) => isOpen)) throw new Error('a channel is closed')
        if (channels[0].send(frames.take())) return
        isFull = true
        channels[0].onceDrained(() => {
          isFull = false
          schedule()
        })
      }
      const publishSome = () => {
        scheduled = false
        if (ended) return
        try {
          for (let n = 0; n < atOnce && !isFull && published - confirmed < window; n++) {
            const { done, value } = waiting.next()
            if (done) {
              send()
              handedOver()
              if (confirmed === published) end(resolve)
              return
            }
            const channel = channelOf(value, channels)
            frames.channel = channel.number
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
        if (published - confirmed < window) schedule()
      }
      publishSome()
    })
  }

  async #opened(): Promise<Open> {
    const opening = this.#open
    const models: ConfirmChannel[] = []
    const returned: string[] = []
    const one = async () => {
      const { connection } = this.#options
      const model = await connection.channel(to => to.createConfirmChannel({ highWaterMark: maxChunks }))
      models.push(model)
      model.on('return', ({ fields }) => returned.push((fields as { routingKey: string }).routingKey))
      model.on('close', () => {
        if (this.#open === opening) this.#open = undefined
        // A channel that is left behind would stay as long as the connection.
        for (const other of models.splice(0)) void closed(other)
      })
      return new PublishChannel(model)
    }
    const first = await one()
    const lanes = Math.min(this.#options.lanes, first.channelMax - spareChannels)
    const others = await Promise.all(Array.from({ length: Math.max(0, lanes) }, one))
    return { channels: [first, ...others], frames: new FrameWriter(first.number, first.frameMax), returned }
  }
}

/** Returns the channel of a message: always the same for messages of one order. */
function channelOf({ order }: Outgoing, channels: Open['channels']): PublishChannel {
  const lanes = channels.length - 1
  if (order === undefined || lanes === 0) return channels[0]
  let hash = 0
  for (let i = 0; i < order.length; i++) hash = Math.imul(hash ^ order.charCodeAt(i), 0x01000193)
  // The lowest bits depend on the lowest bits of each character alone.
  return channels[1 + (((hash ^ (hash >>> 15)) >>> 0) % lanes)] as PublishChannel
}

/** Closes a channel, which may be closed already. */
async function closed(channel: ConfirmChannel): Promise<void> {
  await channel.close().catch(() => {})
}
