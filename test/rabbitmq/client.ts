import { connect } from 'amqplib'
import type { Test } from 'tap'
import { RabbitMq, type RabbitMqOptions } from '../../src/rabbitmq/rabbitmq.js'

export const hubId = 'hub-under-test'

export function client(url: string, more: Partial<RabbitMqOptions> = {}): RabbitMq {
  return new RabbitMq({
    urls: [url],
    hubId,
    holder: undefined,
    envelope: 'message',
    headers: 'full',
    channels: 32,
    window: 2_000,
    prefetch: 1_000,
    consumesReceipts: false,
    state: () => {},
    clock: { now: () => 5 },
    ...more,
  })
}

/** A channel of ours beside the hub's; closed when the test ends. */
export async function channelOf(t: Test, url: string) {
  const model = await connect(url)
  model.on('error', () => {})
  t.teardown(() => model.close().catch(() => {}))
  const channel = await model.createChannel()
  channel.on('error', () => {})
  return channel
}

export const exchanges = {
  'telehub.telemetry': 'topic',
  'telehub.batches': 'direct',
  'telehub.publish': 'topic',
  'telehub.requests': 'topic',
  'telehub.receipts': 'direct',
  'telehub.dead': 'topic',
} as const

export const queues = [
  'telehub.record',
  'telehub.publish',
  'telehub.requests',
  'telehub.dead',
  `telehub.receipts.${hubId}`,
]

/** Nothing of the hub is left in RabbitMQ. */
export async function wipe(url: string): Promise<void> {
  const model = await connect(url)
  const channel = await model.createChannel()
  for (const queue of queues) await channel.deleteQueue(queue)
  for (const exchange of Object.keys(exchanges)) await channel.deleteExchange(exchange)
  await model.close()
}
