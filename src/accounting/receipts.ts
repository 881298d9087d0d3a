import { type Message, messageId } from '../model.js'
import type { Ledger, Settled } from '../queue/queue.js'
import { dropOldest } from '../runtime/drop-oldest.js'
import type { Accounted, AccountedLetter, AccountedOutcome, BalanceSheet } from './balance-sheet.js'

/** The outcome of messages of another hub, sent to that hub. */
export interface Receipt {
  /** Messages with the reason why they are, or were, dead letters. Undefined: the message is stored. */
  readonly entries: readonly AccountedOutcome[]
  /** Given when the messages were dead letters and are `stored` or `dropped` now. Absent: they came from the queue. */
  readonly moved?: 'stored' | 'dropped'
}

/**
 * A receipt as JSON. Entries are `[sequence, receivedAt, index of the client, index of the reason or -1]`, and 1 behind
 * when some values of a rejected message are stored, 2 when the message is no reading.
 */
interface Body {
  readonly clients: readonly string[]
  readonly reasons: readonly string[]
  readonly entries: readonly (readonly [number, number, number, number, (1 | 2)?])[]
  readonly moved?: 'stored' | 'dropped'
}

/** Delivers receipts to hubs. Implemented by `RabbitMq` and `Kafka`. */
export interface ReceiptDelivery {
  /** Resolves when the receipt is durable. */
  publishReceipts(hub: string, body: Buffer): Promise<void>
}

const entriesPerReceipt = 2_000

/** Maximum number of settled messages remembered, so that a message delivered again is recognised. */
const remembered = 200_000

/**
 * The ledger for messages of other hubs: each hub is sent the outcome of its messages before they are settled with
 * their queue. A message delivered again is recognised as long as this process lives. After that the message is written
 * to the store again, which changes nothing there, and its hub counts the message once.
 */
export class Receipts implements Ledger {
  readonly #delivery: ReceiptDelivery
  readonly #settled = new Set<string>()

  constructor(delivery: ReceiptDelivery) {
    this.#delivery = delivery
  }

  unsettled(messages: readonly Message[]): readonly Message[] {
    const seen = new Set<string>()
    return messages.filter(message => {
      // Messages that no hub accepted may share an id. Writing a message twice changes nothing.
      if (isStranger(message)) return true
      const id = messageId(message)
      if (seen.has(id) || this.#settled.has(id)) return false
      seen.add(id)
      return true
    })
  }

  async settle(settled: readonly Settled[]): Promise<void> {
    await this.#tell(settled.map(({ message, rejection, ignored }) => ({ message, ...rejection, ignored })))
    for (const { message } of settled) if (!isStranger(message)) this.#settled.add(messageId(message))
    dropOldest(this.#settled, remembered)
  }

  /** Sends receipts for dead letters that were stored after all, or dropped. */
  async moved(letters: readonly AccountedLetter[], to: 'stored' | 'dropped'): Promise<void> {
    await this.#tell(letters, to)
  }

  async #tell(entries: Receipt['entries'], moved?: 'stored' | 'dropped'): Promise<void> {
    const byHub = new Map<string, Receipt['entries'][number][]>()
    for (const entry of entries) {
      const { hub } = entry.message
      // Messages that no hub accepted have no hub that needs a receipt.
      if (hub === undefined || isStranger(entry.message)) continue
      const known = byHub.get(hub)
      if (known) known.push(entry)
      else byHub.set(hub, [entry])
    }
    for (const [hub, all] of byHub) {
      for (let i = 0; i < all.length; i += entriesPerReceipt) {
        const some = all.slice(i, i + entriesPerReceipt)
        await this.#delivery.publishReceipts(hub, encodeReceipt({ entries: some, ...(moved && { moved }) }))
      }
    }
  }
}

function isStranger({ hub }: Accounted): boolean {
  return hub?.startsWith('?') ?? false
}

export function encodeReceipt({ entries, moved }: Receipt): Buffer {
  const clients = new Map<string, number>()
  const reasons = new Map<string, number>()
  const index = (of: Map<string, number>, name: string) => {
    const known = of.get(name)
    if (known !== undefined) return known
    of.set(name, of.size)
    return of.size - 1
  }
  const packed = entries.map(({ message: { sequence, receivedAt, clientId }, reason, partly, ignored }) => {
    const entry = [
      sequence,
      receivedAt,
      index(clients, clientId),
      reason === undefined ? -1 : index(reasons, reason),
    ] as const
    if (ignored) return [...entry, 2] as const
    return partly ? ([...entry, 1] as const) : entry
  })
  const body: Body = {
    clients: [...clients.keys()],
    reasons: [...reasons.keys()],
    entries: packed,
    ...(moved && { moved }),
  }
  return Buffer.from(JSON.stringify(body))
}

/** Enters the receipts in messages into the balance sheet. Resolves when that is durable. */
export async function takeReceipts(messages: readonly Message[], balance: BalanceSheet): Promise<void> {
  for (const { payload } of messages) {
    const receipt = decodeReceipt(payload)
    if (!receipt) continue
    if (receipt.moved) {
      const letters = receipt.entries.map(({ reason = '', ...entry }) => ({ ...entry, reason }))
      await balance.moved(letters, receipt.moved)
    } else await balance.settleAll(receipt.entries)
  }
}

/** Returns undefined when the payload is no receipt: other programs may publish to the queue, too. */
export function decodeReceipt(payload: Buffer): Receipt | undefined {
  try {
    const { clients, reasons, entries, moved } = JSON.parse(payload.toString('utf8')) as Body
    return {
      entries: entries.map(([sequence, receivedAt, client, reason, mark]) => {
        const clientId = clients[client]
        if (!Number.isSafeInteger(sequence) || !Number.isSafeInteger(receivedAt) || typeof clientId !== 'string')
          throw new Error('no entry')
        const marked = mark === 1 ? { partly: true } : mark === 2 ? { ignored: true } : {}
        const outcome = { reason: reason < 0 ? undefined : reasons[reason], ...marked }
        return { message: { sequence, receivedAt, clientId }, ...outcome }
      }),
      ...((moved === 'stored' || moved === 'dropped') && { moved }),
    }
  } catch {
    return undefined
  }
}
