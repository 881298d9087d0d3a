import type { BalanceSheet } from '../accounting/balance-sheet.js'
import type { Message } from '../model.js'
import type { LiveFeeds } from './feeds/live-feeds.js'
import type { LivePusher } from './live-pusher.js'
import type { ReplyWatch } from './reply-watch.js'
import type { Sparkplug } from './sparkplug/sparkplug.js'

export interface LiveStageOptions {
  readonly balance: BalanceSheet
  readonly sparkplug: Sparkplug
  readonly livePusher: LivePusher
  readonly feeds: LiveFeeds
  readonly replies: ReplyWatch
}

/** The way of messages to the screen, which is that of every message of the spool, in order. */
export class LiveStage {
  readonly #options: LiveStageOptions

  constructor(options: LiveStageOptions) {
    this.#options = options
  }

  /** Resolves when the messages are counted, pushed, and what was learnt from births is on disk. */
  async handle(messages: readonly Message[]): Promise<undefined> {
    const { balance, sparkplug, livePusher, feeds, replies } = this.#options
    balance.recordAccepted(messages)
    replies.observe(messages)
    sparkplug.observe(messages)
    await livePusher.handle(messages)
    await feeds.handle(messages)
    await sparkplug.flush()
    return undefined
  }
}
