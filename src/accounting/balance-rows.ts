import { type PackedEntry, pack, type RowChange } from './accounts.js'

export const microsecondsPerHour = 3_600e6

/** Why a message is a dead letter, and whether some of its values are stored all the same. */
export interface DeadReason {
  readonly reason: string
  readonly partly?: boolean | undefined
}

type OpenEntry = { -readonly [key in keyof RowChange]: RowChange[key] }

/** Changes to rows, one for each hour and client. */
export class BalanceRows {
  readonly #hours = new Map<number, Map<string, OpenEntry>>()

  settle(receivedAt: number, client: string, as: 'stored' | 'ignored' | 'dropped', sequence: number): void {
    const entry = this.#entry(receivedAt, client)
    const outcome = as === 'ignored' ? 'stored' : as
    entry[outcome] = (entry[outcome] ?? 0) + 1
    if (as === 'ignored') entry.ignored = (entry.ignored ?? 0) + 1
    entry.lastSettled = Math.max(entry.lastSettled ?? 0, sequence)
  }

  die(receivedAt: number, client: string, { reason, partly }: DeadReason, sequence: number): void {
    const entry = this.#entry(receivedAt, client)
    addDead(entry, reason, 1)
    if (partly) entry.partly = (entry.partly ?? 0) + 1
    entry.lastSettled = Math.max(entry.lastSettled ?? 0, sequence)
  }

  move(receivedAt: number, client: string, { reason, partly }: DeadReason, to: 'stored' | 'dropped'): void {
    const entry = this.#entry(receivedAt, client)
    entry[to] = (entry[to] ?? 0) + 1
    addDead(entry, reason, -1)
    if (partly) entry.partly = (entry.partly ?? 0) - 1
  }

  packed(): PackedEntry[] {
    return [...this.#hours.values()].flatMap(clients => [...clients.values()].map(pack))
  }

  #entry(receivedAt: number, client: string): OpenEntry {
    const hour = Math.floor(receivedAt / microsecondsPerHour)
    let clients = this.#hours.get(hour)
    if (!clients) {
      clients = new Map()
      this.#hours.set(hour, clients)
    }
    let entry = clients.get(client)
    if (!entry) {
      entry = { hour, client }
      clients.set(client, entry)
    }
    return entry
  }
}

function addDead(entry: OpenEntry, reason: string, count: number): void {
  entry.dead = { ...entry.dead, [reason]: (entry.dead?.[reason] ?? 0) + count }
}
