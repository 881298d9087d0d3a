import type { Message, Outcome, Outward, ReplyQueue } from '../model.js'
import { publishFault } from '../topics.js'
import type { BackEndCommand } from './reply-watch.js'

/** Reason for dead-lettering a message of a back end. */
export const badTopic = 'bad_topic'

/** Delivers messages of the hub and of back ends to subscribers. */
export interface OutwardDelivery {
  /** Resolves when the broker has the messages for good. */
  publish(messages: readonly Outward[]): Promise<void>
}

/** Hands on what back ends ask of devices. */
export interface CommandDelivery {
  /** Resolves when a command is on disk, or refused: then its sender is told. */
  ask(message: BackEndCommand): Promise<void>
}

/**
 * Delivers messages of back ends to dashboards and devices: messages that services publish to `telehub.publish` go to
 * MQTT subscribers. `publish` resolves when the broker has all of them, queues of absent sessions and retained messages
 * included; only then are they acknowledged to RabbitMQ. A message whose sender waits for an answer is a command.
 */
export class Downlink {
  readonly #delivery: OutwardDelivery & CommandDelivery
  /** Commands that were handed on, perhaps without success. */
  readonly #asked = new WeakSet<Message>()

  constructor(delivery: OutwardDelivery & CommandDelivery) {
    this.#delivery = delivery
  }

  async handle(messages: readonly Message[]): Promise<readonly Outcome[]> {
    const outcomes = messages.map(({ topic }): Outcome => {
      const fault = publishFault(topic)
      return fault ? { reason: badTopic, detail: fault } : 'ack'
    })
    const good = messages.filter(({ reply }, i) => outcomes[i] === 'ack' && !reply)
    // Commands first: one that comes again is recognised, a message is not.
    for (const message of messages) {
      if (message.reply && !publishFault(message.topic)) await this.#ask(message, message.reply)
    }
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

  async #ask(message: Message, reply: ReplyQueue): Promise<void> {
    const { topic, payload, expiresAt } = message
    // A batch that has failed is handled again, with the commands that were taken.
    const isRedelivered = reply.isRedelivered || this.#asked.has(message)
    this.#asked.add(message)
    await this.#delivery.ask({ topic, payload, expiresAt, reply: { ...reply, isRedelivered } })
  }
}
