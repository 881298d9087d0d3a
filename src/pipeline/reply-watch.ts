import type { Message, ReplyQueue } from '../model.js'
import { Rest } from '../runtime/rest.js'
import type { Knowledge } from './knowledge.js'
import { type ReplyPlan, replyPlan } from './presets/replies.js'

/** A command that is about to be sent. */
export interface ExpectedReply {
  readonly id: string
  readonly topic: string
  readonly payload: Uint8Array
  /** Messages count from behind this sequence number on. */
  readonly after: number
}

/** The answer of a device to a command. */
export interface Reply {
  readonly id: string
  /** Whether the device has done what it was told. */
  readonly isGood: boolean
  readonly topic: string
  readonly payload: Uint8Array
}

/** A message of a back end that waits for an answer, as another thread gets it. */
export interface BackEndCommand {
  readonly topic: string
  readonly payload: Uint8Array
  /** Microseconds since the epoch. */
  readonly expiresAt: number | undefined
  readonly reply: ReplyQueue
}

/** Gets the answers that are recognised, and the commands of back ends. Implemented by `Commands`. */
export interface ReplySink {
  replied(reply: Reply): void
  /**
   * Takes a command of a back end that waits for the answer. Resolves when the command is on disk, or refused: the back
   * end is told. Rejects when it is to be given again.
   */
  asked(message: BackEndCommand): Promise<void>
  /** Called when the processor thread is a new one, which knows of no command. */
  restarted(): void
}

/** Delivers answers to the broker thread. */
export interface ReplyDelivery {
  replied(reply: Reply): void
}

interface Expectation {
  readonly plan: ReplyPlan
  readonly after: number
}

/**
 * Pause of the consumer whose messages are watched, in milliseconds. The screen is no faster, and of the readings of a
 * device in between only the newest is pushed.
 */
const restMs = 10

/** Most commands that are watched: more than may be under way. */
const most = 120_000

/** Longest part of an answer that is handed on: one byte more than is kept, so that it is known to be cut. */
const handedOn = 16_385

/** Recognises the answers of devices to commands among the messages of the spool. */
export class ReplyWatch {
  /** Pause of the consumer whose messages are watched: short after a command, as the answer comes soon. */
  readonly rest = new Rest(restMs)
  readonly #off: readonly string[]
  readonly #delivery: ReplyDelivery
  readonly #plans = new Map<string, Expectation>()
  /** Ids of commands by the topics of their answers. */
  readonly #expected = new Map<string, Set<string>>()

  /** @param off Presets that are switched off. */
  constructor(off: readonly string[], delivery: ReplyDelivery) {
    this.#off = off
    this.#delivery = delivery
  }

  /** Watches for the answer to a command. Returns the family of the device; undefined when it is not known how it answers. */
  expect({ id, topic, payload, after }: ExpectedReply, knowledge: Pick<Knowledge, 'commanded'>): string | undefined {
    const known = this.#plans.get(id)
    if (known) return known.plan.family
    const plan = replyPlan(topic, payload, commandTopic => knowledge.commanded(commandTopic), this.#off)
    if (!plan || this.#plans.size >= most) return undefined
    this.rest.hurry()
    this.#plans.set(id, { plan, after })
    for (const one of plan.topics) {
      const ids = this.#expected.get(one)
      if (ids) ids.add(id)
      else this.#expected.set(one, new Set([id]))
    }
    return plan.family
  }

  forget(ids: readonly string[]): void {
    for (const id of ids) {
      this.#ignore(id)
      this.#plans.delete(id)
    }
  }

  #ignore(id: string): void {
    for (const topic of this.#plans.get(id)?.plan.topics ?? []) {
      const expected = this.#expected.get(topic)
      if (expected?.delete(id) && expected.size === 0) this.#expected.delete(topic)
    }
  }

  observe(messages: readonly Message[]): void {
    if (this.#expected.size === 0) return
    for (const message of messages) {
      const { topic } = message
      this.#look(message, this.#expected.get(topic))
      this.#look(message, this.#expected.get(`${topic.slice(0, topic.lastIndexOf('/'))}/+`))
    }
  }

  #look({ topic, payload, sequence }: Message, ids: ReadonlySet<string> | undefined): void {
    if (!ids) return
    const text = payload.toString('utf8')
    for (const id of [...ids]) {
      const { plan, after } = this.#plans.get(id) as Expectation
      const verdict = sequence > after ? plan.judge(topic, text) : undefined
      if (!verdict) continue
      this.#ignore(id)
      this.#delivery.replied({
        id,
        isGood: verdict === 'good',
        topic,
        payload: Uint8Array.from(payload.subarray(0, handedOn)),
      })
    }
  }
}
