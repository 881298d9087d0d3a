import type { BalanceSheet } from '../accounting/balance-sheet.js'
import type { Message } from '../model.js'
import type { LivePusher } from './live-pusher.js'
import type { Sparkplug } from './sparkplug/sparkplug.js'

export interface LiveStageOptions {
  readonly balance: BalanceSheet
  readonly sparkplug: Sparkplug
  readonly livePusher: LivePusher
}

/** The way of messages to the screen, which is that of every message of the spool, in order. */
export class LiveStage {
  readonly #options: LiveStageOptions

  constructor(options: LiveStageOptions) {
    this.#options = options
  }

  /** Resolves when the messages are counted, pushed, and what was learnt from births is on disk. */
  async handle(messages: readonly Message[]): Promise<undefined> {
    const { balance, sparkplug, livePusher } = this.#options
    balance.recordAccepted(messages)
    sparkplug.observe(messages)
    await livePusher.handle(messages)
    await sparkplug.flush()
    return undefined
  }
}
