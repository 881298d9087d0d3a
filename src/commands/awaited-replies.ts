import type { PipelineApi } from '../pipeline/pipeline-api.js'
import type { CommandEntry } from './command-entry.js'

/** Time to wait for the processor thread to say whether it knows how a device answers, in milliseconds. */
const planMs = 1_000

/** Has the processor thread recognise the answers to commands. While that thread is down, no answer is recognised. */
export class AwaitedReplies {
  readonly #pipeline: Pick<PipelineApi, 'expectReply' | 'forgetReplies'>

  readonly #forgotten: string[] = []

  constructor(pipeline: Pick<PipelineApi, 'expectReply' | 'forgetReplies'>) {
    this.#pipeline = pipeline
  }

  /**
   * Returns a function that does what {@link expect} does, once. It is called in the next turn at the latest: the disk is
   * asked first, as the processor thread takes processor time of this one when it wakes.
   */
  soon(entry: CommandEntry): () => void {
    let isDone = false
    const expect = () => {
      if (!isDone) this.expect(entry)
      isDone = true
    }
    setImmediate(expect)
    return expect
  }

  /**
   * Called when a command is about to be sent: the answer is among the messages that come from now on. Nothing waits for
   * that thread here, as it learns of the command before it learns of any answer.
   */
  expect(entry: CommandEntry): void {
    const { id, after, payload, subject } = entry
    const asked = this.#pipeline.expectReply({ id, after, topic: subject.topic, payload }).catch(() => undefined)
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<undefined>(resolve => {
      timer = setTimeout(() => resolve(undefined), planMs)
    })
    entry.planned = Promise.race([asked, late]).then(family => {
      clearTimeout(timer)
      entry.family = family ?? entry.family
      // The command may have ended meanwhile.
      if (entry.isOver) this.forget(id)
    })
  }

  /** Forgets a command soon: nobody waits for that, and the processor thread need not wake for each. */
  forget(id: string): void {
    if (this.#forgotten.length === 0) setImmediate(() => this.#forget())
    this.#forgotten.push(id)
  }

  #forget(): void {
    this.#pipeline.forgetReplies(this.#forgotten.splice(0)).catch(() => {})
  }
}
