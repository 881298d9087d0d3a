import type { Writable } from 'node:stream'
import type { ConfirmChannel } from './connection.js'

/** The parts of a channel of amqplib that its types do not name. package.json names the one version they are from. */
interface DriverChannel {
  readonly ch: number
  readonly connection: DriverConnection
  pushConfirmCallback(confirmed: (error: unknown) => void): void
}

interface DriverConnection {
  readonly frameMax: number
  readonly channelMax: number
  /** By number. The frames in a buffer are written to the socket in their order, between those of other channels. */
  readonly channels: readonly ({ readonly channel: unknown; readonly buffer: Writable } | null)[]
  /** Tells the heartbeat that nothing else need be sent. */
  sentSinceLastCheck: boolean
}

/**
 * A channel of the driver that takes encoded frames. Confirms, returned messages, and errors stay with the driver, and
 * so does the order with everything else that the channel sends.
 */
export class PublishChannel {
  readonly #channel: ConfirmChannel
  readonly #driver: DriverChannel

  constructor(channel: ConfirmChannel) {
    this.#channel = channel
    this.#driver = channel as unknown as DriverChannel
  }

  get number(): number {
    return this.#driver.ch
  }

  /** Bytes of the largest frame, as agreed with the server. */
  get frameMax(): number {
    return this.#driver.connection.frameMax
  }

  /** Number of channels that the connection may have, as agreed with the server. */
  get channelMax(): number {
    return this.#driver.connection.channelMax
  }

  /** Whether frames for this channel may be sent: neither channel nor connection are closed, or about to be. */
  get isOpen(): boolean {
    const { ch, connection } = this.#driver
    // The number of a closed channel belongs to the next one.
    return connection.channels[ch]?.channel === this.#driver && !isEnding(this.#driver) && !isEnding(connection)
  }

  /**
   * Called once for each message, before its frames are sent: `confirmed` is called when RabbitMQ has confirmed the
   * message, or with an error when RabbitMQ refuses it or the channel closes before.
   */
  expectConfirm(confirmed: (error: unknown) => void): void {
    this.#driver.pushConfirmCallback(confirmed)
  }

  /**
   * Sends whole frames, of this channel and of others of the same connection. Returns false when so many wait that no
   * more should be sent before the channel is drained. Throws when the channel is not open.
   */
  send(frames: Buffer): boolean {
    const { ch, connection } = this.#driver
    const slot = connection.channels[ch]
    if (!slot || !this.isOpen) throw new Error('the channel is closed')
    connection.sentSinceLastCheck = true
    return slot.buffer.write(frames)
  }

  onceDrained(drained: () => void): void {
    this.#channel.once('drain', drained)
  }
}

/** Returns whether the driver has put a function that throws in place of the method with which messages are sent. */
function isEnding(part: object): boolean {
  return Object.hasOwn(part, 'sendMessage')
}
