import { EventEmitter } from 'node:events'
import { Aedes, type Client as AedesClient, type AedesOptions } from 'aedes'
import mqttPacket from 'mqtt-packet'
import { describe } from '../errors.js'
import type { Will } from '../mqtt/codec.js'
import { lengthSize, packetType, writeHead } from '../mqtt/primitives.js'
import type { DebugLog } from '../observe/log.js'
import type { LastWill, Sessions } from '../sessions/sessions.js'
import { type StoredWill, WillPersistence } from './will-persistence.js'

/** A client, as the receiver of the decisions of Aedes. */
export interface Controlled {
  /** The client id, after authentication; assigned by the hub when the client gave none. */
  readonly id: string
  readonly user: string
  /** Name of the client's session, used as the client id for Aedes. */
  readonly name: string
  /** The will in CONNECT. Undefined when there is none, and once Aedes has stored the will. */
  readonly will: Will | undefined
  /** Called when Aedes has answered CONNECT with this return code. */
  answered(returnCode: number): void
  /** Called when the client is connected. */
  ready(): void
  /** Called when Aedes wants the connection closed: the client disconnected, or another one took over the session. */
  end(): void
  /** Called when a client that was connected no longer is. */
  left(): void
}

export interface AedesHandshakeOptions {
  readonly sessions: Sessions
  /** Called when a client is gone without DISCONNECT and has left a will. `done` when the will is stored or refused. */
  readonly will: (client: Controlled | undefined, will: LastWill, done: (error?: Error) => void) => void
  readonly log: Pick<DebugLog, 'debug'>
}

/**
 * The part of the broker that Aedes decides: who connects, under which name, in whose place, and whose will is due.
 * Everything that Aedes cannot do well, as measurement and reading showed, is done
 * around Aedes, which is given an {@link AedesConnection} with CONNECT and DISCONNECT alone.
 */
export class AedesHandshake {
  readonly #aedes: SilencedAedes

  constructor(options: AedesHandshakeOptions) {
    const { sessions, will, log } = options
    this.#aedes = new SilencedAedes({
      mq: new NoEmitter(),
      persistence: new WillPersistence(sessions.wills, ownerOf),
      concurrency: 0,
      connectTimeout: 2 ** 31 - 1,
      drainTimeout: 0,
      maxTopicLevels: 100,
      // The packet reader has already refused longer ids.
      maxClientsIdLength: 65_535,
      // Called for wills alone: publishes do not pass through Aedes.
      authorizePublish: (client, packet, done) => {
        const stored = packet as unknown as StoredWill
        const { topic, payload, qos, retain, clientId, user = '' } = stored
        const { delay = 0, expiry, properties } = stored
        const message = {
          topic,
          payload: Buffer.isBuffer(payload) ? payload : Buffer.from(payload),
          qos,
          retain,
          clientId: client ? ownerOf(client).id : (clientId ?? ''),
          user,
          delay,
          expiry,
          properties,
        }
        will(client ? ownerOf(client) : undefined, message, done)
      },
    })
    // Without a listener an 'error' event would end the process.
    this.#aedes.on('error' as 'closed', ((error: unknown) => log.debug(`aedes: ${describe(error)}`)) as () => void)
    this.#aedes.on('clientError', (client, error) => log.debug(`${ownerOf(client).id}: ${error.message}`))
    this.#aedes.on('connectionError', (_client, error) => log.debug(`a connection: ${error.message}`))
    this.#aedes.on('clientReady', client => {
      ownerOf(client).ready()
      // Aedes has something left to do with the client.
      setImmediate(release, client)
    })
    this.#aedes.on('clientDisconnect', client => ownerOf(client).left())
  }

  async start(id: string): Promise<void> {
    this.#aedes.id = id
    // Aedes writes nothing but CONNACKs here. Its encoder would keep a buffer for each of 65,536 numbers, 10 MB in all.
    mqttPacket.writeToStream.cacheNumbers = false
    await this.#aedes.listen()
  }

  /** Closes every client; resolves when all are gone. */
  async stop(): Promise<void> {
    await new Promise<void>(resolve => this.#aedes.close(resolve))
  }

  /** Begins the handshake of a client: hands Aedes a connection on which CONNECT has arrived. */
  open(owner: Controlled): AedesConnection {
    const port = new AedesConnection(owner)
    this.#aedes.handle(port as unknown as Parameters<SilencedAedes['handle']>[0])
    port.push(connectPacket(owner))
    return port
  }
}

/** Aedes that publishes nothing: `authorizePublish` has distributed a will already, Aedes' own `$SYS` is discarded. */
class SilencedAedes extends Aedes {
  constructor(options: AedesOptions) {
    super(options)
  }

  override publish(_packet: object, client: unknown, done?: (error?: Error) => void): void {
    if (typeof client === 'function') (client as () => void)()
    else done?.()
  }
}

/** A message emitter that does nothing, in place of the one that Aedes would use. */
class NoEmitter {
  readonly concurrency = 0

  on(_filter: string, _listener: unknown, done?: () => void): this {
    done?.()
    return this
  }

  removeListener(_filter: string, _listener: unknown, done?: () => void): this {
    done?.()
    return this
  }

  close(done?: () => void): void {
    done?.()
  }
}

/** The parts of a client of Aedes that its types do not name. package.json names the one version they are from. */
interface AedesParts {
  readonly conn: AedesConnection
  readonly closed: boolean
  _disconnected: boolean
  _parser: typeof noParser
  _eos: () => void
  _nextBatch: () => void
  _inboundInflight: ReadonlySet<number>
  deliver0: () => void
  deliverQoS: () => void
  subscriptions: object
  duplicates: object
}

function nothing(): void {}

/** The same for all clients that are connected. */
const noParser = { _queue: null, removeAllListeners: nothing, parse: nothing }
const noPackets: ReadonlySet<number> = new Set()
const noEntries: object = Object.freeze(Object.create(null))

/**
 * Takes from a client that is connected what Aedes had for its handshake and for messages, of which Aedes sees none: a
 * parser with a stream of its own, and listeners. They are 3.8 KB of the 9.5 KB of objects of an idle connection.
 */
function release(aedesClient: AedesClient): void {
  const client = aedesClient as unknown as AedesParts
  // One that is closed already is garbage soon.
  if (client.closed) return
  client._eos()
  client._eos = nothing
  client._parser = noParser
  client._nextBatch = nothing
  client._inboundInflight = noPackets
  client.deliver0 = nothing
  client.deliverQoS = nothing
  client.subscriptions = noEntries
  client.duplicates = noEntries
  client.conn.release(client)
}

function ownerOf(client: AedesClient): Controlled {
  return (client.conn as unknown as AedesConnection).owner
}

/** Returns a CONNECT of MQTT 3.1.1 for Aedes: session name and will. The client's connection enforces keep alive. */
function connectPacket({ name, will }: Controlled): Buffer {
  const fields: Buffer[] = [Buffer.from(name)]
  if (will) fields.push(Buffer.from(will.topic), will.payload)
  const length = fields.reduce((sum, field) => sum + 2 + field.length, 10)
  const packet = Buffer.allocUnsafe(1 + lengthSize(length) + length)
  let at = writeHead(packet, packetType.connect << 4, length)
  const flags = 0x02 | (will ? 0x04 | (will.qos << 3) | (will.retain ? 0x20 : 0) : 0)
  packet.set([0, 4, ...Buffer.from('MQTT'), 4, flags, 0, 0], at)
  at += 10
  for (const field of fields) {
    packet.writeUInt16BE(field.length, at)
    packet.set(field, at + 2)
    at += 2 + field.length
  }
  return packet
}

const noBuffers: Buffer[] = []

const disconnectPacket = Buffer.from([packetType.disconnect << 4, 0])

/** Bytes of a CONNACK; the last one is the return code. [MQTT-3.2.2] */
const connackBytes = 4

/**
 * The connection as Aedes sees it, a stream only as far as Aedes uses one: `read` returns packets one by one, `write`
 * is called with the CONNACK, and `destroy` ends the client's connection.
 */
export class AedesConnection extends EventEmitter {
  readonly owner: Controlled
  readonly readable = true
  readonly writable = true
  destroyed = false
  #packets: Buffer[] = []
  #written = 0
  /** The client of Aedes, once it reads no packet any more. */
  #released: Pick<AedesParts, '_disconnected'> | undefined

  constructor(owner: Controlled) {
    super()
    this.owner = owner
  }

  /** Hands Aedes a whole packet. */
  push(packet: Buffer): void {
    this.#packets.push(packet)
    this.emit('readable')
  }

  /** Called when the client has sent DISCONNECT: Aedes forgets the will and destroys this connection. */
  goodbye(): void {
    if (this.#released) {
      // Aedes does the same with the packet.
      this.#released._disconnected = true
      this.destroy()
    } else this.push(disconnectPacket)
  }

  /** Called when the client of Aedes reads no packet any more. */
  release(client: Pick<AedesParts, '_disconnected'>): void {
    this.#released = client
    this.#packets = noBuffers
    this.removeAllListeners('readable')
  }

  /** Called when the connection is closed: Aedes publishes the will unless the client has sent DISCONNECT. */
  close(): void {
    this.destroyed = true
    this.emit('end')
  }

  // — the part of a stream that Aedes and the encoder of Aedes use —

  read(): Buffer | null {
    return this.#packets.shift() ?? null
  }

  write(chunk: Buffer | string, encoding?: BufferEncoding): boolean {
    const bytes = typeof chunk === 'string' ? Buffer.from(chunk, encoding) : chunk
    for (const byte of bytes) if (++this.#written === connackBytes) this.owner.answered(byte)
    return true
  }

  destroy(): void {
    if (this.destroyed) return
    this.destroyed = true
    this.owner.end()
  }
}
