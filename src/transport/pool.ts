import type { Duplex } from 'node:stream'
import type { Fault } from '../mqtt/reason-codes.js'
import type { Traffic } from '../observe/counters.js'
import type { Work } from '../runtime/work.js'
import type { ConnectionLimits } from './connection-limits.js'
import type { Framing } from './outbox.js'

/** The other end of a connection. */
export interface Peer {
  readonly address: string
  readonly listener: 'mqtt' | 'mqtts' | 'ws' | 'wss'
  /** The names in the client certificate that was verified; empty without one. */
  readonly certificate: readonly string[]
}

/** A byte stream to a client. With `framing`, bytes written to the stream must be framed. */
export type Transport = Duplex & {
  readonly framing?: Framing | undefined
  /** Called with the number of bytes that came, by a transport that holds bytes back until a message is whole. */
  arrived?: ((bytes: number) => void) | undefined
  /** Called when the client is connected: allows messages as long as any packet, and ends the calls of `arrived`. */
  opened?(): void
}

/** Takes over connections, of which all that the client sent is still to be read. */
export interface ConnectionSink {
  accept(stream: Duplex, peer: Peer): void
}

/** Counts and logs what was refused or cut off. */
export interface RefusalReport {
  refused(reason: string, sentence: string): void
}

/** A reader that waits for the next turn. */
export interface TurnTaker {
  /** Bytes that came and are not handled yet. */
  readonly buffered: number
  /** True once CONNECT has come. */
  readonly hasBegun: boolean
  /** Called when the turn has come. Returns the bytes that the turn may be used for. */
  takeTurn(): number
}

/** A writer with packets to send when the turn ends. */
export interface Flushed {
  flush(): void
}

/** A connection that may be closed for want of room as long as the client is not connected. */
export interface Evictable {
  readonly peer: Peer
  giveUp(fault: Fault): void
}

/** All connections together, as one connection uses them. */
export interface Pool extends RefusalReport {
  readonly limits: ConnectionLimits
  /** Milliseconds of a clock that never jumps, as of this turn of the event loop. */
  readonly now: number
  /** While true nothing is read: publishes accepted already wait for the disk. */
  readonly overloaded: boolean
  readonly work: Work
  /** Returns whether so many bytes may be processed in this turn, or the connection has to wait for a later one. */
  grant(bytes: number): boolean
  /** Returns whether a CONNECT may be processed in this turn, or the connection has to wait for a later one. */
  grantConnect(): boolean
  /** The value of `work.done` at which the connection served now must let others have their turn. */
  readonly workEnd: number
  /** Queues a reader for one of the next turns. */
  queue(reader: TurnTaker): void
  /** Marks a writer to be flushed when this turn ends. */
  dirty(writer: Flushed): void
  /** Counts bytes from a client that is not connected. May close this connection, or another, for want of room. */
  hello(connection: Evictable, bytes: number): void
  opened(connection: Evictable): void
  readonly traffic: Traffic
}
