import { countText, nameText } from '../wording.js'
import { acceptRule, fetchInbox, type InboxAnswer, type InboxGroup, storeLetters, undoAccepted } from './requests.js'
import { say } from './words.js'

/** The acceptance that runs just now. */
export interface Acceptance {
  readonly filter: string
  readonly text: string
  readonly done: number
  /** Undefined: not known. */
  readonly total: number | undefined
}

/** The outcome of an acceptance. */
export interface Accepted {
  readonly sentence: string
  readonly canUndo: boolean
}

/** The state of the inbox: the groups, and the one that is being accepted. */
export class InboxModel {
  onChange: () => void = () => {}
  answer: InboxAnswer | undefined
  failure = ''
  running: Acceptance | undefined
  /** The newest last. */
  outcomes: readonly Accepted[] = []

  async load(): Promise<void> {
    try {
      this.answer = await fetchInbox()
      this.failure = ''
    } catch (error) {
      this.failure = (error as Error).message
    }
    this.onChange()
  }

  /** Puts the rule of a group into force, also for what the hub still has of these topics. */
  async accept(group: InboxGroup): Promise<void> {
    if (this.running) return
    const { filter } = group
    const name = nameText(filter)
    this.#step(filter, say('step.rule'))
    try {
      const past = await acceptRule(group, ({ done, total }) => {
        const counts = { done: countText(done), total: countText(total ?? 0) }
        const text = total ? say('step.past-of', counts) : done > 0 ? say('step.past', counts) : say('step.rule')
        this.#step(filter, text, done, total)
      })
      const letters = await storeLetters(filter, ({ done }) =>
        this.#step(filter, say('step.letters', { done: countText(done) })),
      )
      const counts = { filter: name, stored: countText(past.stored), kept: countText(letters.kept) }
      this.#end({ sentence: letters.kept > 0 ? say('done.kept', counts) : say('done', counts), canUndo: true })
    } catch (error) {
      this.#end({ sentence: say('refused', { filter: name, why: (error as Error).message }), canUndo: false })
    }
    await this.load()
  }

  /** Takes the acceptance back that was the last. */
  async undo(): Promise<void> {
    if (this.running) return
    this.#step('', say('undoing'))
    try {
      await undoAccepted(() => {})
      this.#end({ sentence: say('undone'), canUndo: false })
    } catch (error) {
      this.#end({ sentence: say('failed', { why: (error as Error).message }), canUndo: false })
    }
    await this.load()
  }

  #step(filter: string, text: string, done = 0, total?: number): void {
    this.running = { filter, text, done, total }
    this.onChange()
  }

  #end(outcome: Accepted): void {
    this.running = undefined
    this.outcomes = [...this.outcomes, outcome]
    this.onChange()
  }
}
