import type { Settings } from '../config/settings.js'
import { connectionRoom } from '../runtime/open-files.js'

/** The limits of each connection. */
export interface ConnectionLimits {
  /** Largest packet before `open` (`helloBytes`) and after, in bytes. */
  readonly helloBytes: number
  readonly packetBytes: number
  /** Publishes, and bytes of publishes, that may wait for the disk before reading is paused. */
  readonly inflight: number
  readonly inflightBytes: number
  /** Publishes and bytes a second; 0 is no limit. */
  readonly messages: number
  readonly bytes: number
  /** Bytes that may wait to be written; above that number QoS 0 is dropped. */
  readonly outboxBytes: number
  /** Milliseconds from the connection to `open`. */
  readonly connectMs: number
  /** Milliseconds that one write may take. */
  readonly stuckMs: number
  /** Longest keep alive in milliseconds; 0 is no limit. */
  readonly keepAliveMs: number
}

/** The limits of all connections together, and of each. */
export interface PoolLimits extends ConnectionLimits {
  /** Connections at a time, in all and from one address; with IPv6 from one /64. */
  readonly connections: number
  readonly perAddress: number
  /** Bytes that all clients together may have sent before they are connected. */
  readonly helloMemory: number
}

/** Returns the limits of connections that the settings set, as far as this process may open files. */
export function connectionLimits(settings: Settings): PoolLimits {
  return {
    connections: connectionRoom(settings).mqtt,
    perAddress: settings['limits.address'],
    connectMs: settings['limits.connect'],
    helloBytes: settings['limits.hello'],
    helloMemory: settings['limits.helloMemory'],
    packetBytes: settings['limits.packet'],
    inflight: settings['limits.inflight'],
    inflightBytes: settings['limits.inflightBytes'],
    messages: settings['limits.messages'],
    bytes: settings['limits.bytes'],
    outboxBytes: settings['limits.outbox'],
    stuckMs: settings['limits.stuck'],
    keepAliveMs: settings['limits.keepalive'],
  }
}
