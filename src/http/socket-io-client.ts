import { commandRow } from '../commands/command-row.js'
import { describe, HubError, MessagesRefused } from '../errors.js'
import { type Feed, type FeedEvent, parseSpan } from '../push/feeds.js'
import type { CommandsApi } from './commands.js'
import { callerName, type LastingCaller } from './guard.js'
import type { FeedsApi } from './live.js'
import type { Publisher } from './publish.js'
import { bytesOf, type PublishedMessages, type Validate } from './published-messages.js'
import { SharedBatches } from './shared-batches.js'
import { offsetOf, type SocketState, type SubscriptionAsked } from './socket-io-recovery.js'

export interface SocketClientParts {
  readonly feeds: FeedsApi
  readonly publisher: Publisher
  readonly commands: Pick<CommandsApi, 'send'>
  readonly messages: PublishedMessages
  readonly validate: Validate
}

/** Part of a socket of Socket.IO that a client needs. */
export interface ServedSocket {
  data: unknown
  /** True when the client is back after a break. */
  readonly recovered: boolean
  readonly connected: boolean
  /** The connection beneath, which changes its transport when polling becomes a WebSocket. */
  readonly conn: {
    readonly readyState: string
    readonly transport: Emitter & { readonly writable: boolean }
    write(packet: string, options?: object): unknown
    /** With `discard` what waits to be sent is dropped. */
    close(discard: boolean): unknown
  } & Emitter
  on(event: string, listener: (...given: unknown[]) => void): unknown
  emit(event: string, ...given: unknown[]): unknown
  disconnect(close: boolean): unknown
}

interface Emitter {
  once(event: string, listener: () => void): unknown
  off(event: string, listener: () => void): unknown
}

/** Answer to an event of a client, by its acknowledgement callback. */
type Acknowledge = (answer: object) => void

const usualPoints = 300

/** Time that a client has to read the reason, before its connection is closed. */
const lastReadMs = 5_000

/** Seconds that a request may take, unless the client says otherwise, and at most. */
const usualWait = 30
const mostWait = 300

/** Most subscriptions of one connection: the offset of each event names all of them. */
const maxSubscriptions = 100

/** Most answers that wait for a client that does not read, and most characters of the message in one. */
const maxUnread = 50_000
const maxMessage = 1_000

/**
 * One client of Socket.IO: its subscriptions, each of which is a feed, and what it publishes. Events go to the
 * transport as text, encoded once for each reading, and no more of them than the transport takes: a slow client gets
 * the newest readings, as every receiver of feeds.
 */
export class SocketClient {
  readonly #socket: ServedSocket
  readonly #lasting: LastingCaller
  readonly #parts: SocketClientParts
  readonly #subscriptions = new Map<number, { readonly asked: SubscriptionAsked; readonly feed: Feed }>()
  /** For each subscription that is ready, the last sequence number that was sent. */
  readonly #reached = new Map<number, number>()
  #numbers = 0
  /** Answers since the transport last took everything. */
  #unread = 0
  /** Resolves when the transport may have room. */
  #room: Promise<void> | undefined
  #wake: (() => void) | undefined

  constructor(socket: ServedSocket, lasting: LastingCaller, parts: SocketClientParts) {
    this.#socket = socket
    this.#lasting = lasting
    this.#parts = parts
  }

  /** Begins to serve the client; continues the subscriptions of a client that is back after a break. */
  start(): void {
    const { subscriptions = [], reached } = this.#socket.data as Partial<SocketState>
    if (this.#socket.recovered) {
      for (const [number, asked] of subscriptions) {
        this.#numbers = Math.max(this.#numbers, number)
        const after = reached?.get(number)
        // The next offset that the client gets must name the subscriptions that have nothing to send yet as well.
        if (after !== undefined) this.#reached.set(number, after)
        this.#follow(number, asked, after)
      }
    }
    this.#remember()
    this.#on('subscribe', ([filters, options]) => {
      if (this.#subscriptions.size >= maxSubscriptions) {
        throw new HubError('too_many', `a connection may have ${maxSubscriptions} subscriptions`)
      }
      const { after, ...asked } = readSubscription(filters, options)
      const number = this.#numbers + 1
      this.#follow(number, asked, after)
      this.#numbers = number
      this.#remember()
      return { subscription: number }
    })
    this.#on('unsubscribe', ([number]) => {
      const subscription = this.#subscriptions.get(Number(number))
      if (!subscription) throw new HubError('not_found', `there is no subscription ${JSON.stringify(number)}`)
      subscription.feed.close()
      return {}
    })
    this.#on('publish', async ([given]) => {
      const { publisher, messages, validate } = this.#parts
      const { sequences } = await publisher.publishDirectly(
        this.#lasting.caller.user,
        messages.fromJson(given, validate),
      )
      return { messages: sequences.map(sequence => ({ sequence })) }
    })
    this.#on('request', ([given]) => this.#request(given))
    this.#socket.on('disconnect', () => {
      for (const { feed } of this.#subscriptions.values()) feed.close()
    })
  }

  /** Answers an event by its callback. Without a callback, a refusal is the event `refused`. */
  #on(event: string, answer: (given: readonly unknown[]) => object | Promise<object>): void {
    this.#socket.on(event, async (...given: unknown[]) => {
      const last = given.at(-1)
      const acknowledge = typeof last === 'function' ? (last as Acknowledge) : undefined
      if (acknowledge) given.pop()
      if (!this.#lasting.isValid()) return void this.#socket.disconnect(true)
      try {
        const answered = await answer(given)
        acknowledge?.(answered)
      } catch (error) {
        const refusal = refusalOf(error)
        if (acknowledge) acknowledge(refusal)
        else this.#socket.emit('refused', { event, ...refusal })
      }
      const { conn } = this.#socket
      this.#unread = conn.transport.writable ? 0 : this.#unread + 1
      if (this.#unread > maxUnread) this.#socket.disconnect(true)
    })
  }

  /** Asks a device or a service. Resolves with the command when it is over, or the time to wait has passed. */
  async #request(given: unknown): Promise<object> {
    const {
      topic,
      payload = '',
      encoding,
      expiry,
      wait = usualWait,
    } = (given ?? {}) as Readonly<Record<string, unknown>>
    const bad = (sentence: string) => new HubError('bad_request', sentence)
    if (typeof topic !== 'string') throw bad('topic: allowed is a text')
    if (encoding !== undefined && encoding !== 'text' && encoding !== 'base64' && encoding !== 'json') {
      throw bad('encoding: allowed are text, base64 and json')
    }
    if (expiry !== undefined && typeof expiry !== 'number') throw bad('expiry: allowed are seconds')
    if (typeof wait !== 'number' || !(wait >= 0 && wait <= mostWait))
      throw bad(`wait: allowed are 0 to ${mostWait} seconds`)
    const { caller } = this.#lasting
    const command = await this.#parts.commands.send({
      ...{ topic, user: caller.user, caller: callerName(caller), via: 'socket.io', waitMs: wait * 1_000 },
      payload: bytesOf(payload, encoding, sentence => bad(`payload ${sentence}`)),
      expiryMs: expiry === undefined ? undefined : expiry * 1_000,
    })
    return commandRow(command)
  }

  #follow(number: number, asked: SubscriptionAsked, after: number | undefined): void {
    const { caller, isValid } = this.#lasting
    const feed = this.#parts.feeds.open({ user: caller.user, access: caller.access, isValid }, { ...asked, after })
    feed.onClose = () => this.#wake?.()
    this.#subscriptions.set(number, { asked, feed })
    void this.#deliver(number, feed)
  }

  /** Ends the connection. A client that does not read never takes what waits for it, nor the end. */
  #expel(): void {
    const { conn } = this.#socket
    this.#socket.disconnect(true)
    setTimeout(() => conn.close(true), lastReadMs).unref()
  }

  /** Writes the state that a client gets back after a break. */
  #remember(): void {
    const state: SocketState = {
      user: this.#lasting.caller.user,
      subscriptions: [...this.#subscriptions].map(([number, { asked }]) => [number, asked]),
    }
    this.#socket.data = state
  }

  async #deliver(number: number, feed: Feed): Promise<void> {
    try {
      for (let events = await feed.next(); events; events = await feed.next()) {
        this.#send(number, events)
        await this.#isWritable(feed)
      }
    } catch (error) {
      const refusal = refusalOf(error)
      this.#socket.emit('ended', refusal, number)
      if (refusal.error === 'unauthorized') this.#expel()
    } finally {
      feed.close()
      if (this.#socket.connected) {
        this.#subscriptions.delete(number)
        this.#reached.delete(number)
        this.#remember()
      }
    }
  }

  /**
   * Sends events as Socket.IO encodes them (packet type 2 in the default namespace), with JSON that exists already. The
   * last argument of each is the offset, by which the client continues after a break.
   */
  #send(number: number, events: readonly FeedEvent[]): void {
    const { conn } = this.#socket
    const isAlone = this.#reached.size <= Number(this.#reached.has(number))
    const encode = () =>
      encoded(
        events.map(({ kind, sequence, json }) => {
          // A feed may be ready before the hub has its first message.
          if (sequence === 0 && kind !== 'ready') return `2["${kind}",${json},${number}]`
          this.#reached.set(number, sequence)
          return `2["${kind}",${json},${number},"${offsetOf(this.#reached)}"]`
        }),
      )
    // An offset names all subscriptions: with several it is this client's own.
    const packet = isAlone ? batches.of(events, `${number}`, encode) : encode()
    const last = events.findLast(({ kind, sequence }) => sequence > 0 || kind === 'ready')
    if (last) this.#reached.set(number, last.sequence)
    if (conn.readyState === 'open') conn.write(packet.packet, packet)
  }

  /** Resolves when the transport has taken what was sent; false when the connection is over. */
  async #isWritable(feed: Feed): Promise<boolean> {
    const { conn } = this.#socket
    while (conn.readyState === 'open' && !conn.transport.writable && !feed.isClosed) {
      // All subscriptions wait for the same, with one listener.
      this.#room ??= this.#hasRoom()
      await this.#room
    }
    return conn.readyState === 'open'
  }

  #hasRoom(): Promise<void> {
    const { conn } = this.#socket
    const { transport } = conn
    return new Promise<void>(resolve => {
      const done = () => {
        transport.off('ready', done)
        conn.off('upgrade', done)
        conn.off('close', done)
        this.#room = undefined
        this.#wake = undefined
        resolve()
      }
      this.#wake = done
      transport.once('ready', done)
      conn.once('upgrade', done)
      conn.once('close', done)
    })
  }
}

/** Events as sent to clients with the same subscription and offset: as a packet, and as frames of WebSocket. */
interface EncodedEvents {
  readonly packet: string
  readonly wsPreEncodedFrame: readonly Buffer[]
}

const batches = new SharedBatches<EncodedEvents>()

/** Separates the packets of a payload of polling (Engine.IO protocol 4); the type of each packet is its first character. */
const nextPacket = '\x1e4'

/**
 * Encodes packets as Engine.IO does (packet type 4), for all receivers at once, as the adapter does to broadcast: a
 * payload for polling, and frames of WebSocket that are written at once.
 */
function encoded(packets: readonly string[]): EncodedEvents {
  const frames = packets.flatMap(packet => {
    const body = Buffer.from(`4${packet}`)
    return [textFrameHeader(body.length), body]
  })
  return { packet: packets.join(nextPacket), wsPreEncodedFrame: [Buffer.concat(frames)] }
}

/** Returns the header of an unmasked text frame (RFC 6455, section 5.2). */
function textFrameHeader(length: number): Buffer {
  if (length < 126) return Buffer.from([0x81, length])
  if (length < 65_536) return Buffer.from([0x81, 126, length >> 8, length & 0xff])
  const header = Buffer.alloc(10)
  header.writeUInt16BE(0x817f)
  header.writeBigUInt64BE(BigInt(length), 2)
  return header
}

function refusalOf(error: unknown): { readonly error: string; readonly message: string; readonly index?: number } {
  if (!(error instanceof HubError)) return { error: 'internal', message: describe(error) }
  return {
    error: error.code,
    // Some messages repeat what was sent.
    message: error.message.slice(0, maxMessage),
    ...(error instanceof MessagesRefused && { index: error.index, kept: error.kept }),
  }
}

function readSubscription(filters: unknown, options: unknown): SubscriptionAsked & { readonly after?: number } {
  const all = typeof filters === 'string' ? [filters] : filters
  if (!Array.isArray(all) || !all.every(filter => typeof filter === 'string')) {
    throw new HubError('bad_request', "subscribe: allowed is a topic filter, or an array of them, such as 'home/#'")
  }
  if (options !== undefined && options !== null && (typeof options !== 'object' || Array.isArray(options))) {
    throw new HubError('bad_request', 'subscribe: the second argument is an object of options')
  }
  const { history, points, after, ...unknown } = (options ?? {}) as Readonly<Record<string, unknown>>
  const [name] = Object.keys(unknown)
  if (name !== undefined) {
    throw new HubError('bad_request', `subscribe: there is no option ${name}; allowed are history, points, after`)
  }
  if (history !== undefined && typeof history !== 'string') {
    throw new HubError('bad_request', `history: given ${JSON.stringify(history)}, allowed is a time such as '6h'`)
  }
  const numbers = { points, after }
  for (const [option, value] of Object.entries(numbers)) {
    if (value !== undefined && !(Number.isSafeInteger(value) && (value as number) >= 0)) {
      throw new HubError('bad_request', `${option}: given ${JSON.stringify(value)}, allowed is a whole number`)
    }
  }
  return {
    filters: all as string[],
    historyMs: history === undefined ? 0 : parseSpan(history),
    points: (points as number | undefined) ?? usualPoints,
    ...(after !== undefined && { after: after as number }),
  }
}
