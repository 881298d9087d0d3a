import type { Message, Outcome, Outward } from '../model.js'
import { publishFault } from '../topics.js'

/** Why what a back end published is dead-lettered. */
export const badTopic = 'bad_topic'

/**
 * From back ends to dashboards and devices: what services publish to `telehub.publish` goes to MQTT subscribers.
 * `publish` resolves when the broker has all of it, queues of absent sessions and retained messages included;
 * only then is it acknowledged to RabbitMQ.
 */
export class Downlink {
  readonly #publish: (messages: readonly Outward[]) => Promise<void>

  constructor(publish: (messages: readonly Outward[]) => Promise<void>) {
    this.#publish = publish
  }

  async handle(messages: readonly Message[]): Promise<readonly Outcome[]> {
    const outcomes = messages.map(({ topic }): Outcome => {
      const fault = publishFault(topic)
      return fault ? { reason: badTopic, detail: fault } : 'ack'
    })
    const good = messages.filter((_, i) => outcomes[i] === 'ack')
    await this.#publish(
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
