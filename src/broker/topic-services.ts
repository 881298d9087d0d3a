import type { QoS } from '../model.js'

/** A client as a {@link TopicService} knows one. */
export interface ServiceClient {
  readonly user: string
  readonly clientId: string
}

/** A publish to a topic of a service. Payload and properties are views of what was read: to be copied when kept. */
export interface ServicePublish extends ServiceClient {
  readonly topic: string
  readonly payload: Buffer
  readonly qos: QoS
  /** MQTT 5 properties, encoded as in mqtt/message-properties.ts. */
  readonly properties: Buffer | undefined
  /** Microseconds since the epoch. */
  readonly expiresAt: number | undefined
}

/**
 * A part of the hub that clients speak to by topics that begin with `$`, such as shadows. What they publish there is
 * handled by the service, and is not in the spool.
 */
export interface TopicService {
  /** Returns whether clients may publish to a topic of the service, if their rules allow the topic. */
  takes(topic: string): boolean
  /**
   * Returns why a topic or topic filter is not for this client. Undefined when the topic is. `byName`: no rule of the
   * user allows the topic, but the name of the client does.
   */
  fault(client: ServiceClient, topic: string, byName: boolean): string | undefined
  /**
   * Handles a publish. Calls `done` once: when the publish may be acknowledged, or with the reason why it was not
   * handled, and is to come again.
   */
  accept(publish: ServicePublish, done: (error?: Error) => void): void
}

/** The services of the hub. They are added before the first client connects. */
export class TopicServices {
  readonly #all: TopicService[] = []

  add(service: TopicService): void {
    this.#all.push(service)
  }

  /** Returns the service that takes publishes to a topic. Undefined when there is none. */
  find(topic: string): TopicService | undefined {
    return topic.charCodeAt(0) === dollar ? this.#all.find(service => service.takes(topic)) : undefined
  }

  /** Returns why a topic filter is not for a client, whose name allows it. */
  nameFault(client: ServiceClient, filter: string): string | undefined {
    for (const service of this.#all) {
      const fault = service.fault(client, filter, true)
      if (fault) return fault
    }
    return undefined
  }
}

const dollar = 36
