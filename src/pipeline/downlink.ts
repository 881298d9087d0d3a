import type { Message, Outcome, Outward } from '../model.js'
import { publishFault } from '../topics.js'

/** Reason for dead-lettering a message of a back end. */
export const badTopic = 'bad_topic'

/** Delivers messages of the hub and of back ends to subscribers. */
export interface OutwardDelivery {
  /** Resolves when the broker has the messages for good. */
  publish(messages: readonly Outward[]): Promise<void>
}

/**
 * Delivers messages of back ends to dashboards and devices: messages that services publish to `telehub.publish` go to
 * MQTT subscribers. `publish` resolves when the broker has all of them, queues of absent sessions and retained messages
 * included; only then are they acknowledged to RabbitMQ.
 */
export class Downlink {
  readonly #delivery: OutwardDelivery

  constructor(delivery: OutwardDelivery) {
    this.#delivery = delivery
  }

  async handle(messages: readonly Message[]): Promise<readonly Outcome[]> {
    const outcomes = messages.map(({ topic }): Outcome => {
      const fault = publishFault(topic)
      return fault ? { reason: badTopic, detail: fault } : 'ack'
    })
    const good = messages.filter((_, i) => outcomes[i] === 'ack')
    await this.#delivery.publish(
      good.map(({ topic, payload, qos, retain, properties, expiresAt }) => ({
        topic,
        payload,
        qos,
        retain,
        ...(properties && { properties }),
        ...(expiresAt !== undefined && { expiresAt }),
      })),
    )
    return outcomes
  }
}
