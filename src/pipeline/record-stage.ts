import type { Message, Outcome } from '../model.js'
import type { Dependencies } from './dependencies.js'
import type { LivePusher } from './live-pusher.js'
import type { Recorder } from './recorder.js'
import type { Refill } from './refill.js'
import type { Sparkplug } from './sparkplug/sparkplug.js'

export interface RecordStageOptions {
  readonly recorder: Recorder
  readonly refill: Refill
  readonly sparkplug: Sparkplug
  readonly livePusher: LivePusher
  readonly dependencies: Dependencies
}

/** The way of messages to the store: after what an emptied store lacks, with births kept, and the screen told. */
export class RecordStage {
  readonly #options: RecordStageOptions

  constructor(options: RecordStageOptions) {
    this.#options = options
  }

  /**
   * Resolves with one outcome per message. Acknowledged messages are stored, and what was read from them is on disk.
   *
   * @param inOrder See `Recorder.handle`.
   */
  async handle(messages: readonly Message[], inOrder: boolean): Promise<readonly Outcome[]> {
    const { recorder, refill, sparkplug, livePusher, dependencies } = this.#options
    await refill.ready()
    const outcomes = await recorder.handle(messages, inOrder)
    dependencies.heard('store', true)
    await sparkplug.flush()
    await livePusher.judged(messages, outcomes)
    return outcomes
  }
}
