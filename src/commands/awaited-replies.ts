import type { PipelineApi } from '../pipeline/pipeline-api.js'
import type { CommandEntry } from './command-entry.js'

/** Time to wait for the processor thread to say how a device answers, in milliseconds. */
const planMs = 1_000

/** Has the processor thread recognise the answers to commands. While that thread is down, no answer is recognised. */
export class AwaitedReplies {
  readonly #pipeline: Pick<PipelineApi, 'planReply' | 'expectReply' | 'forgetReplies'>

  constructor(pipeline: Pick<PipelineApi, 'planReply' | 'expectReply' | 'forgetReplies'>) {
    this.#pipeline = pipeline
  }

  /** Notes how the device answers a command. Resolves when that is known, or not known in time. */
  async plan(entry: CommandEntry): Promise<void> {
    const { id, payload, subject } = entry
    const asked = this.#pipeline.planReply({ id, topic: subject.topic, payload })
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<undefined>(resolve => {
      timer = setTimeout(() => resolve(undefined), planMs)
    })
    const plan = await Promise.race([asked.catch(() => undefined), late])
    clearTimeout(timer)
    if (!plan) return
    entry.family = plan.family
    entry.levels = plan.levels
    // The command may have ended meanwhile.
    if (entry.isOver) this.forget(id)
  }

  /** Called when a command is about to be sent: the answer is among the messages that come from now on. */
  expect({ id, after, sends, family, isOver }: CommandEntry): void {
    if (family === undefined || sends === 0 || isOver) return
    this.#pipeline.expectReply({ id, after }).catch(() => {})
  }

  forget(id: string): void {
    this.#pipeline.forgetReplies([id]).catch(() => {})
  }
}
