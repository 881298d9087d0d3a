import { EventEmitter } from 'node:events'
import { Readable } from 'node:stream'
import { Aedes, type Client as AedesClient, type AedesOptions, type ConnectPacket } from 'aedes'
import { describe } from '../errors.js'
import { type ClientRef, Persistence, type StoredPacket } from './persistence.js'
import type { Published } from './session-state.js'
import type { Sessions } from './sessions.js'

/** A client as Aedes' decisions reach it. */
export interface Controlled {
  /** Authenticated, and named: a client that gave no id has been given one. */
  readonly id: string
  readonly user: string
  /** Aedes has answered its CONNECT with this code. */
  answered(returnCode: number): void
  /** It is connected. */
  ready(): void
  /** Aedes wants its connection closed: it disconnected, or another took its place. */
  end(): void
  /** It was connected and is no longer. */
  left(): void
}

export interface ControlOptions {
  readonly sessions: Sessions
  /** The client is gone without a goodbye. `done` when its will is kept, or refused. */
  readonly will: (client: Controlled | undefined, will: Published, done: (error?: Error) => void) => void
  readonly log: (sentence: string) => void
}

/**
 * Aedes: who connects, under which name, in whose place, and whose will is due. What measurement and reading showed
 * that it cannot do well (research: aedes.md §2 to §4, §6.1) is done around it: it is given a {@link Port} with the
 * packets that are its business, CONNECT and DISCONNECT.
 */
export class Control {
  readonly #aedes: Quiet

  constructor(options: ControlOptions) {
    const { sessions, will, log } = options
    this.#aedes = new Quiet({
      mq: new NoEmitter(),
      persistence: new Undelivered(sessions),
      concurrency: 0,
      connectTimeout: 2 ** 31 - 1,
      drainTimeout: 0,
      maxTopicLevels: 100,
      // What is too long has been refused by the packet's reader.
      maxClientsIdLength: 65_535,
      preConnect: (client, packet, done) => {
        // The connection keeps the time, also for a keep alive that is longer than the hub allows.
        const connect = packet as ConnectPacket & { keepalive: number }
        connect.keepalive = 0
        connect.clientId = ownerOf(client).id
        done(null, true)
      },
      // Publishes do not come here, wills do.
      authorizePublish: (client, packet, done) => {
        const { topic, payload, qos, retain, clientId, user } = packet as unknown as StoredPacket
        const message = {
          topic,
          payload: Buffer.isBuffer(payload) ? payload : Buffer.from(payload),
          qos,
          retain,
          clientId: client?.id ?? clientId ?? '',
          user: user ?? '',
        }
        will(client ? ownerOf(client) : undefined, message, done)
      },
    })
    // Without a listener an 'error' ends the process.
    this.#aedes.on('error' as 'closed', ((error: unknown) => log(`aedes: ${describe(error)}`)) as () => void)
    this.#aedes.on('clientError', (client, error) => log(`${client.id}: ${error.message}`))
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

  /** Begins with a client, whose CONNECT is the first packet to be pushed. */
  open(owner: Controlled): Port {
    const port = new Port(owner)
    this.#aedes.handle(port as unknown as Parameters<Quiet['handle']>[0])
    return port
  }
}

/** Aedes without a way out for messages: a will has been distributed when it is authorized, its `$SYS` chatter is not. */
class Quiet extends Aedes {
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
class Undelivered extends Persistence {
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
    await super.putWill(client, Object.assign(packet, { user: ownerOf(client as AedesClient).user }))
  }

  /** Aedes names a closed client's will by the client id, once it is published: its successor's is not meant. */
  override async delWill(client: ClientRef & { readonly brokerId?: string }): Promise<StoredPacket | undefined> {
    const { clients } = this.broker as unknown as { clients: Readonly<Record<string, { readonly closed: boolean }>> }
    const hasSuccessor = client.brokerId !== undefined && clients[client.id]?.closed === false
    return hasSuccessor ? undefined : super.delWill(client)
  }
}

function ownerOf(client: AedesClient): Controlled {
  return (client.conn as unknown as Port).owner
}

/** Bytes of a CONNACK; the last one is its code. [MQTT-3.2.2] */
const connackBytes = 4

/**
 * The connection as Aedes sees it. It is a stream only as far as Aedes looks: packets are read from it one by one, what
 * is written to it is the CONNACK, and destroying it ends the connection behind it.
 */
export class Port extends EventEmitter {
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
