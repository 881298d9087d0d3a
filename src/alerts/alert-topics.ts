import { describe } from '../errors.js'
import type { SentenceLog } from '../observe/log.js'
import { takeOldest } from '../runtime/drop-oldest.js'
import { hubTopics } from '../topics.js'
import type { AlertTransition, TransitionListener } from './transition.js'

/** Delivers retained messages to MQTT subscribers. An empty text removes the retained message. */
export interface AlertDelivery {
  push(pushes: readonly { readonly topic: string; readonly json: string }[]): Promise<void>
}

const againMs = 1_000
const pushedAtOnce = 500
/** Most messages that wait for the broker. */
const maxWaiting = 20_000
/** Longest topic, in bytes. (MQTT §1.5.3) */
const maxTopic = 65_535

/**
 * The alerts as retained messages: `$hub/alerts/{rule}/{series}`, until the alert is cleared. Of an alert that changes
 * while the broker is busy, only the newest state is pushed.
 */
export class AlertTopics implements TransitionListener {
  readonly #delivery: AlertDelivery
  readonly #log: SentenceLog
  readonly #waiting = new Map<string, string>()
  #pushing: Promise<void> | undefined
  #isStopped = false
  #again: (() => void) | undefined
  /** Messages that were given up, as too many waited, or for a topic too long. */
  dropped = 0

  constructor(delivery: AlertDelivery, log: SentenceLog) {
    this.#delivery = delivery
    this.#log = log
  }

  changed(transition: AlertTransition): void {
    const { rule, series, state, past } = transition
    // It was over before anybody could have seen it.
    if (past) return
    this.#put(hubTopics.alert(rule, series), JSON.stringify(inMilliseconds(transition)))
    if (state === 'cleared') this.#put(`${hubTopics.alert(rule, series)}\0end`, '')
  }

  /** Removes the retained message of an alert that is over. */
  remove(rule: string, series: string): void {
    this.#put(hubTopics.alert(rule, series), '')
  }

  async stop(): Promise<void> {
    this.#isStopped = true
    this.#again?.()
    await this.#pushing
  }

  #put(key: string, json: string): void {
    // Refused by the broker each time, it would hold back all others.
    if (Buffer.byteLength(key) > maxTopic) {
      this.dropped++
      return
    }
    if (json !== '') this.#waiting.delete(`${key}\0end`)
    this.#waiting.delete(key)
    this.#waiting.set(key, json)
    if (this.#waiting.size > maxWaiting) {
      takeOldest(this.#waiting)
      this.dropped++
    }
    this.#pushing ??= this.#pushAll().finally(() => {
      this.#pushing = undefined
    })
  }

  async #pushAll(): Promise<void> {
    await Promise.resolve()
    let isWarned = false
    while (this.#waiting.size > 0 && !this.#isStopped) {
      const some = [...this.#waiting].slice(0, pushedAtOnce)
      for (const [key] of some) this.#waiting.delete(key)
      try {
        await this.#delivery.push(some.map(([key, json]) => ({ topic: key.replace(/\0end$/, ''), json })))
      } catch (error) {
        if (!isWarned) this.#log.warn(`alerts could not be published: ${describe(error)}; retrying`)
        isWarned = true
        for (const [key, json] of some) if (!this.#waiting.has(key)) this.#waiting.set(key, json)
        await new Promise<void>(resolve => {
          const timer = setTimeout(resolve, againMs)
          this.#again = () => {
            clearTimeout(timer)
            resolve()
          }
        })
      }
    }
  }
}

/** Returns a transition with its times in milliseconds, as the API and the topics show them. */
export function inMilliseconds(transition: AlertTransition): AlertTransition {
  return { ...transition, at: transition.at / 1_000, decidedAt: transition.decidedAt / 1_000 }
}
