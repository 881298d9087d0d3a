import type { Message } from '../model.js'
import type { Ledger, Settled } from '../queue/queue.js'
import type { AccountedLetter, BalanceSheet } from './balance-sheet.js'
import type { Receipts } from './receipts.js'

/** Settles own messages in the balance sheet, and sends receipts to other hubs for their messages. */
export class BothLedgers implements Ledger {
  readonly #own: BalanceSheet
  readonly #others: Receipts

  constructor(own: BalanceSheet, others: Receipts) {
    this.#own = own
    this.#others = others
  }

  unsettled(messages: readonly Message[]): readonly Message[] {
    if (messages.every(({ hub }) => hub === undefined)) return this.#own.unsettled(messages)
    const open = new Set([
      ...this.#own.unsettled(messages.filter(({ hub }) => hub === undefined)),
      ...this.#others.unsettled(messages.filter(({ hub }) => hub !== undefined)),
    ])
    return messages.filter(message => open.has(message))
  }

  async settle(settled: readonly Settled[]): Promise<void> {
    const others = settled.filter(({ message }) => message.hub !== undefined)
    await this.#others.settle(others)
    await this.#own.settle(settled.filter(({ message }) => message.hub === undefined))
  }

  async moved(letters: readonly AccountedLetter[], to: 'stored' | 'dropped'): Promise<void> {
    const isOwn = ({ message }: AccountedLetter) => message.hub === undefined
    await this.#others.moved(
      letters.filter(letter => !isOwn(letter)),
      to,
    )
    await this.#own.moved(letters.filter(isOwn), to)
  }
}

/** For a consumer that only passes messages on: records rejected messages in the ledger, and no others. */
export class RejectedOnly implements Ledger {
  readonly #ledger: Ledger

  constructor(ledger: Ledger) {
    this.#ledger = ledger
  }

  unsettled(messages: readonly Message[]): readonly Message[] {
    return messages
  }

  async settle(settled: readonly Settled[]): Promise<void> {
    const rejected = settled.filter(({ rejection }) => rejection !== undefined)
    if (rejected.length > 0) await this.#ledger.settle(rejected)
  }
}
