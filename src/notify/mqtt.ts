import type { Outward } from '../model.js'
import type { AlertMessage } from './message.js'
import type { MqttTargetPlan } from './plan.js'
import type { NotifyTarget } from './target.js'
import { escapeFor, fill } from './template.js'
import type { ValuesMaker } from './webhook.js'

/** Publishes messages to the subscribers of the hub. */
export interface NotifyPublisher {
  /** Resolves when the broker has the messages for good. */
  publish(messages: readonly Outward[]): Promise<void>
}

/** Publishes each message on a topic of this hub. */
export class MqttTarget implements NotifyTarget {
  readonly #plan: MqttTargetPlan
  readonly #values: ValuesMaker
  readonly #publisher: NotifyPublisher

  constructor(plan: MqttTargetPlan, values: ValuesMaker, publisher: NotifyPublisher) {
    this.#plan = plan
    this.#values = values
    this.#publisher = publisher
  }

  async send(message: AlertMessage, address: string): Promise<void> {
    const { topic, qos, retain, body } = this.#plan
    const payload = Buffer.from(fill(body, this.#values.valuesFor(message, address), escapeFor('application/json')))
    await this.#publisher.publish([{ topic, payload, qos, retain }])
  }
}
