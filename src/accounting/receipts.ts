import { type Message, messageId } from '../model.js'
import type { Ledger, Settled } from '../queue/queue.js'
import type { Accounted } from './balance-sheet.js'

/** What became of messages of another hub, as it is told to that hub. */
export interface Receipt {
  /** Why it is in the dead letters; absent: it is stored. */
  readonly entries: readonly { readonly message: Accounted; readonly reason: string | undefined }[]
  /** They were dead letters, and are `stored` or `dropped` now; absent: they came from the queue. */
  readonly moved?: 'stored' | 'dropped'
}

/** `[sequence, receivedAt, index of the client, index of the reason or -1]`, many of them in one message. */
interface Body {
  readonly clients: readonly string[]
  readonly reasons: readonly string[]
  readonly entries: readonly (readonly [number, number, number, number])[]
  readonly moved?: 'stored' | 'dropped'
}

const entriesPerReceipt = 2_000

/** Messages of others that were settled, remembered so that one that comes again is known. */
const remembered = 200_000

/**
 * The ledger for messages of other hubs: it tells each of them what became of its messages, before their queue is told.
 * What comes again is known as long as this process lives; after that it is written to the store again, which changes
 * nothing there, and its hub counts it once.
 */
export class Receipts implements Ledger {
  readonly #publish: (hub: string, body: Buffer) => Promise<void>
  readonly #settled = new Set<string>()

  /** `publish` resolves when the receipt is durable. */
  constructor(publish: (hub: string, body: Buffer) => Promise<void>) {
    this.#publish = publish
  }

  unsettled(messages: readonly Message[]): readonly Message[] {
    const seen = new Set<string>()
    return messages.filter(message => {
      // A stranger's name may be that of many; written twice, it changes nothing.
      if (isStranger(message)) return true
      const id = messageId(message)
      if (seen.has(id) || this.#settled.has(id)) return false
      seen.add(id)
      return true
    })
  }

  async settle(settled: readonly Settled[]): Promise<void> {
    await this.#tell(settled.map(({ message, rejection }) => ({ message, reason: rejection?.reason })))
    for (const { message } of settled) if (!isStranger(message)) this.#settled.add(messageId(message))
    for (const id of this.#settled) {
      if (this.#settled.size <= remembered) break
      this.#settled.delete(id)
    }
  }

  /** Dead letters were stored after all, or dropped. */
  async moved(letters: readonly { message: Accounted; reason: string }[], to: 'stored' | 'dropped'): Promise<void> {
    await this.#tell(letters, to)
  }

  async #tell(entries: Receipt['entries'], moved?: 'stored' | 'dropped'): Promise<void> {
    const byHub = new Map<string, Receipt['entries'][number][]>()
    for (const entry of entries) {
      const { hub } = entry.message
      // What strangers put into the queue has no hub that would want to know.
      if (hub === undefined || isStranger(entry.message)) continue
      const known = byHub.get(hub)
      if (known) known.push(entry)
      else byHub.set(hub, [entry])
    }
    for (const [hub, all] of byHub) {
      for (let i = 0; i < all.length; i += entriesPerReceipt) {
        const some = all.slice(i, i + entriesPerReceipt)
        await this.#publish(hub, encodeReceipt({ entries: some, ...(moved && { moved }) }))
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
  const packed = entries.map(({ message: { sequence, receivedAt, clientId }, reason }) => {
    return [sequence, receivedAt, index(clients, clientId), reason === undefined ? -1 : index(reasons, reason)] as const
  })
  const body: Body = {
    clients: [...clients.keys()],
    reasons: [...reasons.keys()],
    entries: packed,
    ...(moved && { moved }),
  }
  return Buffer.from(JSON.stringify(body))
}

/** Undefined when that is no receipt: others may have put it there. */
export function decodeReceipt(payload: Buffer): Receipt | undefined {
  try {
    const { clients, reasons, entries, moved } = JSON.parse(payload.toString('utf8')) as Body
    return {
      entries: entries.map(([sequence, receivedAt, client, reason]) => {
        const clientId = clients[client]
        if (!Number.isSafeInteger(sequence) || !Number.isSafeInteger(receivedAt) || typeof clientId !== 'string')
          throw new Error('no entry')
        return { message: { sequence, receivedAt, clientId }, reason: reason < 0 ? undefined : reasons[reason] }
      }),
      ...((moved === 'stored' || moved === 'dropped') && { moved }),
    }
  } catch {
    return undefined
  }
}
