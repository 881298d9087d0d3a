import type { Message } from '../model.js'
import { type PackedEntry, pack, sum } from './accounts.js'
import { microsecondsPerHour } from './balance-rows.js'

/** Clients with refusals in an hour that are counted separately; further clients are counted together. */
const refusedClients = 10_000

interface ReceivedCount {
  received: number
  /** Sequence number of the last of them. */
  lastReceived: number
}

type ReceivedByHour = Map<number, Map<string, ReceivedCount>>
type RefusedByHour = Map<number, Map<string, Map<string, number>>>

/** Counts taken out to be written. */
export interface TakenCounts {
  readonly rows: readonly PackedEntry[]
  readonly received: ReceivedByHour
  readonly refused: RefusedByHour
}

/** Messages received and refused since the last change that was written, by hour and client. */
export class UnwrittenCounts {
  #received: ReceivedByHour = new Map()
  /** Must not grow with time while the disk refuses writes. */
  #refused: RefusedByHour = new Map()

  /** Counts the messages from the sequence number `next` on. Returns the number after the last of them. */
  receive(messages: readonly Message[], next: number): number {
    let hour = -1
    let clients: Map<string, ReceivedCount> | undefined
    for (const { sequence, receivedAt, clientId } of messages) {
      if (sequence < next) continue
      next = sequence + 1
      const own = Math.floor(receivedAt / microsecondsPerHour)
      if (own !== hour || !clients) {
        hour = own
        clients = this.#clientsOf(hour)
      }
      const row = clients.get(clientId)
      if (row) {
        row.received++
        row.lastReceived = sequence
      } else clients.set(clientId, { received: 1, lastReceived: sequence })
    }
    return next
  }

  refuse(hour: number, client: string, reasons: Iterable<readonly [string, number]>): void {
    const clients = this.#refused.get(hour) ?? new Map<string, Map<string, number>>()
    this.#refused.set(hour, clients)
    const known = clients.has(client) || clients.size < refusedClients ? client : ''
    const counts = clients.get(known) ?? new Map<string, number>()
    clients.set(known, counts)
    for (const [reason, count] of reasons) counts.set(reason, (counts.get(reason) ?? 0) + count)
  }

  /** Takes all counts out. */
  take(): TakenCounts {
    const [received, refused] = [this.#received, this.#refused]
    this.#received = new Map()
    this.#refused = new Map()
    const rows: PackedEntry[] = []
    for (const [hour, clients] of refused) {
      for (const [client, reasons] of clients) {
        rows.push(pack({ hour, client, received: sum(reasons), refused: Object.fromEntries(reasons) }))
      }
    }
    for (const [hour, clients] of received) {
      for (const [client, row] of clients) rows.push(pack({ hour, client, ...row }))
    }
    return { rows, received, refused }
  }

  /** Puts counts back that the disk refused: they are written with the next ones. */
  putBack({ received, refused }: TakenCounts): void {
    for (const [hour, clients] of refused) {
      for (const [client, reasons] of clients) this.refuse(hour, client, reasons)
    }
    for (const [hour, clients] of received) {
      const known = this.#clientsOf(hour)
      for (const [client, { received, lastReceived }] of clients) {
        const row = known.get(client) ?? { received: 0, lastReceived }
        known.set(client, { received: row.received + received, lastReceived: row.lastReceived })
      }
    }
  }

  #clientsOf(hour: number): Map<string, ReceivedCount> {
    const clients = this.#received.get(hour) ?? new Map<string, ReceivedCount>()
    this.#received.set(hour, clients)
    return clients
  }
}
