import type { WantedTopic } from './client.js'

/** Names of the topics of a hub. */
export interface TopicNames {
  /** Every accepted message, a record each. */
  readonly telemetry: string
  /** Records of many messages. */
  readonly batches: string
  /** Messages of back ends for dashboards and devices. */
  readonly publish: string
  /** Copies of the dead letters. */
  readonly dead: string
  /** Receipts for a hub, and dead letters of its messages, from consumers elsewhere. */
  receipts(hubId: string): string
}

export interface TopicOptions {
  /** Beginning of the name of every topic and group, `telehub.` unless set otherwise. */
  readonly prefix: string
  /** Partitions of a topic that is made. */
  readonly partitions: number
  /** Largest record that a topic which is made takes, in bytes. */
  readonly maxMessage: number
}

export function topicNames(prefix: string): TopicNames {
  return {
    telemetry: `${prefix}telemetry`,
    batches: `${prefix}batches`,
    publish: `${prefix}publish`,
    dead: `${prefix}dead`,
    receipts: hubId => `${prefix}receipts.${hubId.replaceAll(/[^\w.-]/g, '_')}`,
  }
}

/** Returns the topics that the record path needs. `hubId`: also those of this hub alone. */
export function recordTopics(
  { prefix, partitions, maxMessage }: TopicOptions,
  hubId: string | undefined,
): WantedTopic[] {
  const names = topicNames(prefix)
  const config = { 'max.message.bytes': String(maxMessage) }
  return [
    { topic: names.telemetry, partitions, config },
    { topic: names.batches, partitions, config },
    { topic: names.publish, partitions, config },
    { topic: names.dead, partitions: 1, config },
    ...(hubId === undefined ? [] : [{ topic: names.receipts(hubId), partitions: 1, config }]),
  ]
}

/** Returns the topic that an outlet needs. */
export function outletTopic(topic: string, { partitions, maxMessage }: Omit<TopicOptions, 'prefix'>): WantedTopic {
  return { topic, partitions, config: { 'max.message.bytes': String(maxMessage) } }
}
