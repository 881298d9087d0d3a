import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import mqtt, { type DoneCallback, type IClientOptions, type IPublishPacket, type MqttClient, type Packet } from 'mqtt'
import { describe } from '../errors.js'
import type { Outward, QoS } from '../model.js'
import { decodeProperties, encodeProperties, type MessageProperties, viaProperty } from '../mqtt/message-properties.js'

/** Another MQTT broker, and who the hub is there. */
export interface RemoteAddress {
  /** `mqtt:`, `mqtts:`, `ws:` or `wss:`. User and password may be included. */
  readonly url: string
  /** 5, or 4 for MQTT 3.1.1, which knows no user properties. */
  readonly version: 4 | 5
  readonly clientId: string
  /** Paths of files in PEM: authorities to trust in place of the system's, own certificate and key. Empty: none. */
  readonly ca: string
  readonly cert: string
  readonly key: string
}

const keepaliveSeconds = 15
const connectMs = 10_000

function optionsOf(address: RemoteAddress): IClientOptions {
  const { version, clientId, ca, cert, key } = address
  return {
    clientId,
    protocolVersion: version,
    manualConnect: true,
    keepalive: keepaliveSeconds,
    connectTimeout: connectMs,
    resubscribe: false,
    queueQoSZero: false,
    rejectUnauthorized: true,
    ...(ca && { ca: readFileSync(ca) }),
    ...(cert && { cert: readFileSync(cert) }),
    ...(key && { key: readFileSync(key) }),
  }
}

/** Makes a client that is still to connect. */
function clientOf({ url, version }: RemoteAddress, options: IClientOptions): MqttClient {
  const client = mqtt.connect(url, options)
  if (version === 5) return client
  // MQTT 3.1.1 has a bit by which Mosquitto and others know a bridge: they keep the retain flag, and send nothing back.
  // The client has no option for the bit.
  const write = client['_writePacket'].bind(client)
  client['_writePacket'] = (packet: Packet, done?: DoneCallback) =>
    write(packet.cmd === 'connect' ? { ...packet, bridgeMode: true } : packet, done)
  return client
}

/** Limits of a broker, as in CONNACK. */
interface RemoteLimits {
  readonly receiveMaximum: number
  readonly maximumQoS: number
  readonly retainAvailable: boolean
  readonly maximumPacketSize: number
}

/** Most messages on their way without an acknowledgement. */
const window = 1_000

/** Longest time without any acknowledgement while some are awaited, in milliseconds. */
const silenceMs = 60_000

/** Room for the fixed header and the numbers of a PUBLISH. */
const headerBytes = 32

/** What another broker has against a message for good. */
export class RemoteRefusal extends Error {}

/** Publishes to another broker over one connection. Once that is lost, everything rejects, and another is to be made. */
export class RemotePublisher {
  readonly limits: RemoteLimits
  readonly #client: MqttClient
  readonly #waiting = new Set<(error: Error) => void>()
  /** Why the connection is gone. */
  #lost: Error | undefined
  #ended: Promise<unknown> | undefined
  #free: number
  #next: (() => void)[] = []
  readonly #silenceMs: number
  readonly #silent: Error
  /** Runs while acknowledgements are awaited. */
  #silence: NodeJS.Timeout | undefined

  private constructor(client: MqttClient, limits: RemoteLimits, silence: number) {
    this.#client = client
    this.#silenceMs = silence
    this.#silent = new Error(`the broker has acknowledged nothing for ${silence / 1_000} s`)
    this.limits = limits
    this.#free = Math.min(window, limits.receiveMaximum)
    const lost = (error: Error) => this.#fail(error)
    client.on('error', lost)
    client.on('disconnect', ({ reasonCode }) => lost(new Error(`the broker closed the connection (${reasonCode})`)))
    client.on('close', () => lost(new Error('the connection was lost')))
  }

  /**
   * Connects. Rejects with the reason when the broker cannot be reached, or refuses; and when `signal` aborts.
   *
   * @param silence Milliseconds without any acknowledgement, while some are awaited, after which the connection counts as lost
   */
  static connect(address: RemoteAddress, signal?: AbortSignal, silence = silenceMs): Promise<RemotePublisher> {
    return new Promise((resolve, reject) => {
      const client = clientOf(address, { ...optionsOf(address), clean: true, reconnectPeriod: 0 })
      const fail = (error: Error) => {
        signal?.removeEventListener('abort', stopped)
        client.removeAllListeners()
        client.on('error', () => {})
        client.end(true)
        reject(error)
      }
      const stopped = () => fail(new Error('the attempt was given up'))
      signal?.addEventListener('abort', stopped, { once: true })
      client.once('error', fail)
      client.once('close', () => fail(new Error('no connection')))
      client.once('connect', ({ properties }) => {
        signal?.removeEventListener('abort', stopped)
        client.removeAllListeners('error')
        client.removeAllListeners('close')
        const limits = {
          receiveMaximum: properties?.receiveMaximum ?? 65_535,
          maximumQoS: properties?.maximumQoS ?? 2,
          retainAvailable: properties?.retainAvailable ?? true,
          maximumPacketSize: properties?.maximumPacketSize ?? Number.POSITIVE_INFINITY,
        }
        resolve(new RemotePublisher(client, limits, silence))
      })
      client.connect()
    })
  }

  /**
   * Resolves when the broker has acknowledged the message; for QoS 0, when the message is written. Rejects with
   * {@link RemoteRefusal} when the broker takes everything but this message, with another error when the connection is
   * lost. Messages are sent in the order of the calls.
   */
  async publish({ topic, payload, qos, retain, properties, expiresAt }: Outward, now: number): Promise<void> {
    // Nothing may throw between the wait for room and the taking of it: the room would be nobody's.
    const bytes = payload.length + Buffer.byteLength(topic) + (properties?.length ?? 0) + headerBytes
    if (bytes > this.limits.maximumPacketSize)
      throw new RemoteRefusal(`the broker takes packets of at most ${this.limits.maximumPacketSize} bytes`)
    const is5 = this.#client.options.protocolVersion === 5
    const options = {
      qos: Math.min(qos, this.limits.maximumQoS) as QoS,
      retain: retain && this.limits.retainAvailable,
      ...(is5 && { properties: sentProperties(properties, expiresAt, now) }),
    }
    while (this.#free === 0 && !this.#lost) await new Promise<void>(resolve => this.#next.push(resolve))
    if (this.#lost) throw this.#lost
    this.#free--
    try {
      await new Promise<void>((resolve, reject) => {
        this.#waiting.add(reject)
        this.#silence ??= setTimeout(() => this.#fail(this.#silent), this.#silenceMs)
        this.#client.publish(topic, payload, options, error => {
          this.#waiting.delete(reject)
          this.#heard()
          if (error) reject(refusalOf(error))
          else resolve()
        })
      })
    } finally {
      this.#free++
      this.#next.shift()?.()
    }
  }

  /** Ends the connection. Resolves when that is over. */
  async close(): Promise<void> {
    this.#fail(new Error('the outlet was closed'))
    await this.#ended
  }

  get isLost(): boolean {
    return this.#lost !== undefined
  }

  #heard(): void {
    if (this.#waiting.size > 0) this.#silence?.refresh()
    else {
      clearTimeout(this.#silence)
      this.#silence = undefined
    }
  }

  #fail(error: Error): void {
    if (this.#lost) return
    this.#lost = error
    clearTimeout(this.#silence)
    for (const reject of this.#waiting) reject(error)
    this.#waiting.clear()
    for (const resolve of this.#next.splice(0)) resolve()
    const ended = new Promise<void>(resolve => void this.#client.end(true, {}, () => resolve()))
    // The client may never call back for a connection that is over already.
    this.#ended = Promise.race([ended, sleep(patienceMs, undefined, { ref: false })])
  }
}

/** Reason codes of an acknowledgement that will be the same each time: not authorised, topic, too large, format. */
const lasting: readonly number[] = [0x87, 0x90, 0x95, 0x99]

function refusalOf(error: Error): Error {
  const { code } = error as { readonly code?: unknown }
  return typeof code === 'number' && lasting.includes(code) ? new RemoteRefusal(describe(error)) : error
}

function sentProperties(encoded: Buffer | undefined, expiresAt: number | undefined, now: number) {
  const found: MessageProperties = (encoded && decodeProperties(encoded)) ?? {}
  const { payloadFormat, contentType, responseTopic, correlationData, userProperties } = found
  const named: Record<string, string | string[]> = Object.create(null)
  for (const [name, value] of userProperties ?? []) {
    const before = named[name]
    named[name] = before === undefined ? value : [...(Array.isArray(before) ? before : [before]), value]
  }
  return {
    ...(payloadFormat !== undefined && { payloadFormatIndicator: payloadFormat === 1 }),
    ...(contentType !== undefined && { contentType }),
    ...(responseTopic !== undefined && { responseTopic }),
    ...(correlationData !== undefined && { correlationData: Buffer.from(correlationData) }),
    ...(userProperties !== undefined && { userProperties: named }),
    ...(expiresAt !== undefined && { messageExpiryInterval: Math.max(1, Math.ceil((expiresAt - now) / 1e6)) }),
  }
}

/** A filter of another broker's topics, and the highest QoS at which their messages come. */
export interface RemoteFilter {
  readonly filter: string
  readonly qos: QoS
}

/** A message of another broker. `via`: ids of the hubs that it has passed. */
export interface RemoteMessage extends Outward {
  readonly via: readonly string[]
}

/** Takes what comes from another broker. */
export interface RemoteReceiver {
  /** Whether so much waits that nothing more should be read. */
  readonly overloaded: boolean
  /**
   * Called in the order in which messages come. Resolves when the message may be acknowledged: it is on disk, or will
   * never be. Rejects when it must come again: then the connection is ended, and the broker sends again what is not
   * acknowledged.
   */
  take(message: RemoteMessage): Promise<void>
  /** Called when the filters are subscribed to; `refused`: those that the broker does not allow. */
  connected(refused: readonly string[]): void
  /** Called when the session at the broker may have these subscriptions, and no others. */
  subscribed(filters: readonly RemoteFilter[]): void
  lost(detail: string): void
}

export interface RemoteSubscriberOptions {
  readonly address: RemoteAddress
  readonly filters: readonly RemoteFilter[]
  /** Filters that an earlier start has subscribed to; those that are not wanted any more are given up. */
  readonly before: readonly RemoteFilter[]
  /** Seconds that the broker keeps the session while the hub is away. MQTT 3.1.1 has no such time. */
  readonly sessionSeconds: number
  /** Largest packet that may come, in bytes. MQTT 3.1.1 cannot say so: there the receiver has to look. */
  readonly packetBytes: number
  readonly receiver: RemoteReceiver
}

/** Messages that are read while earlier ones are on their way to the disk. */
const ahead = 200
const pauseMs = 10
/** Longest time for each step of a stop. */
const patienceMs = 2_000
const reconnectMs = 1_000

/** What became of a message that is not acknowledged: a broker that sends its packet identifier again means the same. */
interface TakenMessage {
  readonly print: string
  readonly taking: Promise<void>
}

/**
 * Subscribes at another broker with a session that it keeps while the hub is away. A message is acknowledged when the
 * receiver has it. A message that is sent again after a lost connection is recognised if no acknowledgement of it was
 * sent (PUBACK; for QoS 2 the PUBCOMP), and while this object lives; else it is taken again.
 */
export class RemoteSubscriber {
  readonly #options: RemoteSubscriberOptions
  readonly #client: MqttClient
  readonly #taken = new Map<number, TakenMessage>()
  /** Number of the connections that are over. */
  #connection = 0
  readonly #filters: readonly RemoteFilter[]
  /** Filters that the session at the broker may have. */
  #subscribed: readonly RemoteFilter[]
  /**
   * Whether the session is known to have all of the filters. With MQTT 5 they are subscribed to on every connection, which
   * is without an effect where they are; with MQTT 3.1.1 that would bring the retained messages again.
   */
  #isSubscribed = false
  /** Whether something went wrong on this connection, so that nothing more of it may be taken. */
  #isBroken = false
  #underWay = 0
  #isStopped = false

  constructor(options: RemoteSubscriberOptions) {
    this.#options = options
    const { address, sessionSeconds, packetBytes, filters, before } = options
    this.#filters = filters.map(({ filter, qos }) => ({ filter, qos }))
    this.#subscribed = before
    this.#client = clientOf(address, {
      ...optionsOf(address),
      clean: false,
      reconnectPeriod: reconnectMs,
      reconnectOnConnackError: true,
      ...(address.version === 5 && {
        properties: { sessionExpiryInterval: sessionSeconds, receiveMaximum: ahead, maximumPacketSize: packetBytes },
      }),
    })
    // QoS 2: taken before the PUBREC, as a session of the client that is not on disk must not own a message. As an option
    // this is ignored with MQTT 3.1.1.
    this.#client.options.customHandleAcks = (_topic, _payload, packet, done) => {
      if ((packet as IPublishPacket).qos !== 2) return void done(0)
      const connection = this.#connection
      this.#take(packet as IPublishPacket, isTaken => {
        if (isTaken) this.#whenConnected(connection, () => done(0))
      })
    }
    this.#client.handleMessage = (packet, callback) => {
      if (packet.qos === 2) return callback()
      // With an error the client goes on to the next packet, and sends no acknowledgement.
      const later = () => callback(new Error('acknowledged later'))
      const connection = this.#connection
      this.#take(packet, isTaken => {
        if (isTaken && packet.qos === 1) this.#acknowledge(packet, connection)
      })
      this.#whenRoom(connection, later)
    }
  }

  start(): void {
    const client = this.#client
    const { receiver } = this.#options
    client.on('packetreceive', packet => {
      // What is released is not sent again: the packet identifier means another message from now on.
      if (packet.cmd === 'pubrel') this.#taken.delete(packet.messageId ?? 0)
      // Before any message of the connection, unlike the event connect.
      if (packet.cmd !== 'connack' || (packet.reasonCode ?? packet.returnCode ?? 0) !== 0) return
      this.#isBroken = this.#isStopped
      if (!packet.sessionPresent) this.#taken.clear()
    })
    client.on('connect', ({ sessionPresent }) => this.#connected(sessionPresent))
    client.on('error', error => receiver.lost(describe(error)))
    client.on('disconnect', ({ reasonCode }) => receiver.lost(`the broker closed the connection (${reasonCode})`))
    client.on('close', () => {
      this.#connection++
      // The client may still hand over what it has read of this connection, and that comes again.
      this.#isBroken = true
      if (!this.#isStopped) receiver.lost('no connection')
    })
    client.connect()
  }

  /** Acknowledges what is under way, and ends the connection; the broker keeps the session. */
  async stop(): Promise<void> {
    this.#isStopped = true
    this.#isBroken = true
    for (let waited = 0; this.#underWay > 0 && waited < patienceMs; waited += pauseMs) await sleep(pauseMs)
    const ended = this.#client.endAsync(false).catch(() => {})
    await Promise.race([ended, sleep(patienceMs, undefined, { ref: false })])
    this.#client.end(true)
  }

  #acknowledge(packet: IPublishPacket, connection: number): void {
    this.#whenConnected(connection, () => {
      // Once it is acknowledged, the packet identifier means another message, even if the PUBACK gets lost.
      this.#taken.delete(packet.messageId ?? 0)
      this.#client['_sendPacket']({ cmd: 'puback', messageId: packet.messageId })
    })
  }

  /** Calls back once the client calls itself connected: a message may be on disk before. Never on another connection. */
  #whenConnected(connection: number, then: () => void): void {
    if (connection !== this.#connection) return
    if (this.#client.connected) then()
    else setTimeout(() => this.#whenConnected(connection, then), pauseMs)
  }

  async #connected(sessionPresent: boolean): Promise<void> {
    const connection = this.#connection
    const { receiver, address } = this.#options
    const filters = this.#filters
    const before = this.#subscribed
    const refused: string[] = []
    if (!sessionPresent) this.#isSubscribed = false
    try {
      if (!this.#isSubscribed || address.version === 5) {
        const gone = before.filter(one => !filters.some(({ filter }) => filter === one.filter))
        if (sessionPresent && gone.length > 0) await this.#client.unsubscribeAsync(gone.map(({ filter }) => filter))
        const more = address.version === 5 ? ({ nl: true, rap: true, rh: 1 } as const) : {}
        const wanted = Object.fromEntries(filters.map(({ filter, qos }) => [filter, { qos, ...more }]))
        const granted = await this.#client.subscribeAsync(wanted).catch((error: unknown) => {
          // One that is refused makes an error of all.
          refused.push(describe(error))
          return []
        })
        if (connection !== this.#connection) return
        for (const { topic, qos } of granted) if (qos >= 128) refused.push(topic)
        this.#isSubscribed = refused.length === 0
        if (JSON.stringify(filters) !== JSON.stringify(before)) {
          this.#subscribed = filters
          receiver.subscribed(filters)
        }
      }
      if (connection === this.#connection) receiver.connected(refused)
    } catch (error) {
      if (connection === this.#connection) receiver.lost(describe(error))
    }
  }

  /** Calls back once a message is taken, or was before; never when it must come again. */
  #take(packet: IPublishPacket, taken: (isTaken: boolean) => void): void {
    if (this.#isBroken) {
      taken(false)
      return
    }
    const { messageId = 0, qos, dup } = packet
    const print = qos === 0 ? '' : printOf(packet)
    const known = qos > 0 && dup ? this.#taken.get(messageId) : undefined
    const again = known?.print === print ? known : undefined
    const taking = again?.taking ?? this.#options.receiver.take(received(packet))
    if (qos > 0 && !again) this.#taken.set(messageId, { print, taking })
    this.#underWay++
    const connection = this.#connection
    taking.then(
      () => {
        this.#underWay--
        taken(true)
      },
      () => {
        this.#underWay--
        if (this.#taken.get(messageId)?.taking === taking) this.#taken.delete(messageId)
        taken(false)
        if (connection !== this.#connection || this.#isBroken) return
        this.#isBroken = true
        // What is not acknowledged comes again, in order, over the next connection.
        this.#client.stream?.destroy()
      },
    )
  }

  /** Calls back once more may be read. Never on another connection. */
  #whenRoom(connection: number, then: () => void): void {
    if (connection !== this.#connection) return
    if (this.#isStopped || (this.#underWay < ahead && !this.#options.receiver.overloaded)) then()
    else setTimeout(() => this.#whenRoom(connection, then), pauseMs)
  }
}

function printOf({ topic, payload }: IPublishPacket): string {
  return createHash('sha1').update(topic).update('\0').update(payload).digest('base64')
}

function received({ topic, payload, qos, retain, properties }: IPublishPacket): RemoteMessage {
  const { userProperties = {}, messageExpiryInterval } = properties ?? {}
  const named = Object.entries(userProperties).flatMap(([name, value]) =>
    (Array.isArray(value) ? value : [value]).map(one => [name, one] as const),
  )
  const found: MessageProperties = {
    ...(properties?.payloadFormatIndicator !== undefined && {
      payloadFormat: properties.payloadFormatIndicator ? 1 : 0,
    }),
    ...(properties?.contentType !== undefined && { contentType: properties.contentType }),
    ...(properties?.responseTopic !== undefined && { responseTopic: properties.responseTopic }),
    ...(properties?.correlationData !== undefined && { correlationData: properties.correlationData }),
    ...(named.length > 0 && { userProperties: named }),
  }
  const encoded = encodeProperties(found)
  return {
    topic,
    payload: Buffer.isBuffer(payload) ? payload : Buffer.from(payload),
    qos,
    retain,
    via: named.filter(([name]) => name === viaProperty).map(([, value]) => value),
    ...(encoded && { properties: encoded }),
    ...(messageExpiryInterval !== undefined && { expiresAt: Date.now() * 1_000 + messageExpiryInterval * 1e6 }),
  }
}
