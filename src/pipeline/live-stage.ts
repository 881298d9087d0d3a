import type { BalanceSheet } from '../accounting/balance-sheet.js'
import type { Alerts } from '../alerts/alerts.js'
import type { Message } from '../model.js'
import type { Part } from '../runtime/lifecycle.js'
import type { Rest } from '../runtime/rest.js'
import type { Cursors } from '../spool/cursors.js'
import type { BatchReadings } from './alert-parts.js'
import { Explore } from './explore/explore.js'
import type { LiveFeeds } from './feeds/live-feeds.js'
import type { LivePusher } from './live-pusher.js'
import type { Registry } from './registry.js'
import type { ReplyWatch } from './reply-watch.js'
import type { Sparkplug } from './sparkplug/sparkplug.js'

export interface LiveStageOptions {
  readonly balance: BalanceSheet
  readonly sparkplug: Sparkplug
  readonly livePusher: LivePusher
  readonly feeds: LiveFeeds
  readonly replies: ReplyWatch
  readonly alerts: Alerts
  readonly registry: Registry
  readonly readings: BatchReadings
  readonly cursors: Pick<Cursors, 'reader' | 'numbered' | 'segments'>
}

/** The way of messages to the screen and the alerts, which is that of every message of the spool, in order. */
export class LiveStage implements Part {
  readonly name = 'live'
  readonly #options: LiveStageOptions
  /** Questions about topics. */
  readonly explore: Explore

  constructor(options: LiveStageOptions) {
    this.#options = options
    const { livePusher: live, registry, cursors } = options
    this.explore = new Explore({ live, registry, cursors })
  }

  /** Pause of the consumer between small batches. */
  get rest(): Rest {
    return this.#options.replies.rest
  }

  /** Called before the spool is read. After a crash the registry, the balance and the alerts lack the last seconds. */
  start(): void {
    const { cursors, registry, balance, alerts, feeds, livePusher } = this.#options
    cursors.reader('live').rewind(Math.min(registry.saved, balance.saved, alerts.saved))
    feeds.start()
    livePusher.start()
  }

  stop(): void {
    this.#options.feeds.stop()
  }

  /** Resolves when the messages are counted, pushed, and what was learnt from births is on disk. */
  async handle(messages: readonly Message[]): Promise<undefined> {
    const { balance, sparkplug, livePusher, feeds, replies, alerts, readings } = this.#options
    readings.forget()
    balance.recordAccepted(messages)
    replies.observe(messages)
    sparkplug.observe(messages)
    await livePusher.handle(messages)
    await alerts.handle(messages)
    readings.forget()
    await feeds.handle(messages)
    await sparkplug.flush()
    return undefined
  }
}
