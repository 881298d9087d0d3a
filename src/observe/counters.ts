import type { QoS } from '../model.js'

/** What went over the connections. */
export interface Traffic {
  bytesIn: number
  bytesOut: number
  packetsIn: number
  packetsOut: number
  publishesOut: number
}

/**
 * Counts of the hub since its start. The parts add to them; the metrics and `$SYS` show them. What changes with every
 * message is a plain number.
 */
export class Counters {
  readonly received: Record<QoS, number> = { 0: 0, 1: 0, 2: 0 }
  receivedBytes = 0
  /** QoS 0 deliveries dropped because the subscriber did not read, and those replaced by a newer one of their topic. */
  dropped = 0
  merged = 0
  /** Messages whose readings were stored, and the points written. */
  stored = 0
  points = 0
  /** Spans that did not reach the collector of OpenTelemetry. */
  spansLost = 0
  /** Live events of feeds whose receivers were too slow: merged into a newer one of the topic, or gone without. */
  readonly feeds = { merged: 0, dropped: 0 }
  readonly traffic: Traffic = { bytesIn: 0, bytesOut: 0, packetsIn: 0, packetsOut: 0, publishesOut: 0 }
  /** By reason: what was refused, dead-lettered, and given up for want of room or by age. */
  readonly refused = new Map<string, number>()
  readonly dead = new Map<string, number>()
  readonly givenUp = new Map<string, number>()
  /** Commands to devices: asked for, by how they ended, answers that came too late, and dropped answers to back ends. */
  readonly commands = new Map<string, number>()

  refuse(reason: string): void {
    increment(this.refused, reason)
  }

  deadLetter(reason: string): void {
    increment(this.dead, reason)
  }

  giveUp(what: string): void {
    increment(this.givenUp, what)
  }
}

export function increment(counts: Map<string, number>, key: string, by = 1): void {
  counts.set(key, (counts.get(key) ?? 0) + by)
}
