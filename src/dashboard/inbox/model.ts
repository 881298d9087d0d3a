import { countText, nameText } from '../wording.js'
import { fetchInbox, type InboxAnswer, type InboxGroup, saveRule, storeLetters, storePast } from './requests.js'
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
  readonly isTrouble: boolean
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

  /** Saves the rule of a group, and stores by it what the hub still has of these topics. */
  async accept(group: InboxGroup): Promise<void> {
    if (this.running) return
    const { filter } = group
    const name = nameText(filter)
    this.#step(filter, say('step.rule'))
    try {
      await saveRule(group)
    } catch (error) {
      this.#end({ sentence: say('refused', { filter: name, why: (error as Error).message }), isTrouble: true })
      return
    }
    try {
      const past = await storePast(filter, ({ done, total }) => {
        const counts = { done: countText(done), total: countText(total ?? 0) }
        this.#step(filter, total ? say('step.past-of', counts) : say('step.past', counts), done, total)
      })
      const letters = await storeLetters(filter, ({ done }) =>
        this.#step(filter, say('step.letters', { done: countText(done) })),
      )
      const kept = past.kept + letters.kept
      const counts = { filter: name, stored: countText(past.stored + letters.stored), kept: countText(kept) }
      this.#end({ sentence: kept > 0 ? say('done.kept', counts) : say('done', counts), isTrouble: false })
    } catch (error) {
      this.#end({ sentence: say('broken', { filter: name, why: (error as Error).message }), isTrouble: true })
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
