import { EventEmitter } from 'node:events'
import { Readable } from 'node:stream'
import { Aedes, type Client as AedesClient, type AedesOptions } from 'aedes'
import { describe } from '../errors.js'
import type { Will } from '../mqtt/codec.js'
import { lengthSize, packetType, writeHead } from '../mqtt/primitives.js'
import type { LastWill } from '../sessions/session-state.js'
import type { Sessions } from '../sessions/sessions.js'
import { type ClientRef, Persistence, type StoredPacket } from './persistence.js'

/** A client as Aedes' decisions reach it. */
export interface Controlled {
  /** Authenticated, and named: a client that gave no id has been given one. */
  readonly id: string
  readonly user: string
  /** The name of its session, by which Aedes knows it. */
  readonly name: string
  /** As it came with CONNECT; until it is with Aedes. */
  readonly will: Will | undefined
  /** Aedes has answered its CONNECT with this code. */
  answered(returnCode: number): void
  /** It is connected. */
  ready(): void
  /** Aedes wants its connection closed: it disconnected, or another took its place. */
  end(): void
  /** It was connected and is no longer. */
  left(): void
}

export interface AedesHandshakeOptions {
  readonly sessions: Sessions
  /** The client is gone without a goodbye. `done` when its will is kept, or refused. */
  readonly will: (client: Controlled | undefined, will: LastWill, done: (error?: Error) => void) => void
  readonly log: (sentence: string) => void
}

/**
 * Aedes: who connects, under which name, in whose place, and whose will is due. What measurement and reading showed
 * that it cannot do well (research: aedes.md §2 to §4, §6.1) is done around it: it is given a {@link AedesConnection} with the
 * packets that are its business, CONNECT and DISCONNECT.
 */
export class AedesHandshake {
  readonly #aedes: SilencedAedes

  constructor(options: AedesHandshakeOptions) {
    const { sessions, will, log } = options
    this.#aedes = new SilencedAedes({
      mq: new NoEmitter(),
      persistence: new WillPersistence(sessions),
      concurrency: 0,
      connectTimeout: 2 ** 31 - 1,
      drainTimeout: 0,
      maxTopicLevels: 100,
      // What is too long has been refused by the packet's reader.
      maxClientsIdLength: 65_535,
      // Publishes do not come here, wills do.
      authorizePublish: (client, packet, done) => {
        const stored = packet as unknown as StoredPacket
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
    // Without a listener an 'error' ends the process.
    this.#aedes.on('error' as 'closed', ((error: unknown) => log(`aedes: ${describe(error)}`)) as () => void)
    this.#aedes.on('clientError', (client, error) => log(`${ownerOf(client).id}: ${error.message}`))
    this.#aedes.on('connectionError', (_client, error) => log(`a connection: ${error.message}`))
    this.#aedes.on('clientReady', client => ownerOf(client).ready())
    this.#aedes.on('clientDisconnect', client => ownerOf(client).left())
  }

  async start(id: string): Promise<void> {
    this.#aedes.id = id
    await this.#aedes.listen()
  }

  /** Closes every client; resolves when all are gone. */
  async stop(): Promise<void> {
    await new Promise<void>(resolve => this.#aedes.close(resolve))
  }

  /** Begins with a client. */
  open(owner: Controlled): AedesConnection {
    const port = new AedesConnection(owner)
    this.#aedes.handle(port as unknown as Parameters<SilencedAedes['handle']>[0])
    port.push(connectPacket(owner))
    return port
  }
}

/** Aedes without a way out for messages: a will has been distributed when it is authorized, its `$SYS` chatter is not. */
class SilencedAedes extends Aedes {
  constructor(options: AedesOptions) {
    super(options)
  }

  override publish(_packet: object, client: unknown, done?: (error?: Error) => void): void {
    if (typeof client === 'function') (client as () => void)()
    else done?.()
  }
}

/** What Aedes would emit its own messages through. */
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

/** The persistence without what would make Aedes restore and deliver what the sessions do. */
class WillPersistence extends Persistence {
  /** Aedes looks for wills of brokers that died, and knows of none that lives. Ours are settled at the start. */
  override streamWill(): Readable {
    return Readable.from([])
  }

  override async cleanSubscriptions(): Promise<void> {}
  override async cleanIncoming(): Promise<void> {}

  override async subscriptionsByClient(): Promise<[]> {
    return []
  }

  override outgoingStream(): Readable {
    return Readable.from([])
  }

  override async putWill(client: ClientRef, packet: StoredPacket): Promise<void> {
    // It knows MQTT 3.1.1 only.
    const { id: clientId, user, will } = ownerOf(client as AedesClient)
    const { delay = 0, expiry, properties } = will ?? {}
    await super.putWill(client, Object.assign(packet, { clientId, user, delay, expiry, properties }))
  }

  /** Aedes names a closed client's will by its id, once it is published: its successor's is not meant. */
  override async delWill(client: ClientRef & { readonly brokerId?: string }): Promise<StoredPacket | undefined> {
    const { clients } = this.broker as unknown as { clients: Readonly<Record<string, { readonly closed: boolean }>> }
    const hasSuccessor = client.brokerId !== undefined && clients[client.id]?.closed === false
    return hasSuccessor ? undefined : super.delWill(client)
  }
}

function ownerOf(client: AedesClient): Controlled {
  return (client.conn as unknown as AedesConnection).owner
}

/** What Aedes needs to know of a client, in MQTT 3.1.1: its id, and its will. The connection keeps the time itself. */
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

const disconnectPacket = Buffer.from([packetType.disconnect << 4, 0])

/** Bytes of a CONNACK; the last one is its code. [MQTT-3.2.2] */
const connackBytes = 4

/**
 * The connection as Aedes sees it. It is a stream only as far as Aedes looks: packets are read from it one by one, what
 * is written to it is the CONNACK, and destroying it ends the connection behind it.
 */
export class AedesConnection extends EventEmitter {
  readonly owner: Controlled
  readonly readable = true
  readonly writable = true
  destroyed = false
  readonly #packets: Buffer[] = []
  #written = 0

  constructor(owner: Controlled) {
    super()
    this.owner = owner
  }

  /** Hands Aedes a whole packet. */
  push(packet: Buffer): void {
    this.#packets.push(packet)
    this.emit('readable')
  }

  /** The client has said goodbye: there is no will any more, and its connection is to be closed. */
  goodbye(): void {
    this.push(disconnectPacket)
  }

  /** The connection is closed: Aedes publishes the will unless the client said goodbye. */
  close(): void {
    this.destroyed = true
    this.emit('end')
  }

  // — what Aedes and its encoder use of a stream —

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
