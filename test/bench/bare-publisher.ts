import type { Message } from '../../src/model.js'
import { Health, RabbitConnection, topology } from '../../src/rabbitmq/connection.js'
import { TelemetryCopies } from '../../src/rabbitmq/copies.js'
import { RabbitNodes } from '../../src/rabbitmq/nodes.js'
import { RabbitPublisher } from '../../src/rabbitmq/publisher.js'
import { monotonicMicros } from './wire.js'

/** Messages of one call. */
const atOnce = 5_000

/**
 * Returns how many messages a second RabbitMQ confirms to a program that does nothing but publish them: the same
 * messages as the hub's, on as many channels, with nothing received, kept or stored. What remains is RabbitMQ.
 */
export async function barePublishRate(url: string, seconds: number): Promise<number> {
  const connection = new RabbitConnection(new RabbitNodes([url]), topology('bench', false), new Health(() => {}))
  const publisher = new RabbitPublisher({ connection, window: 2_000, lanes: 32 })
  const copies = new TelemetryCopies('bench', 'full')
  let sequence = 0
  let confirmed = 0
  const next = (): Message => {
    const device = ++sequence % 100
    const payload = Buffer.from(`{"power":12.5,"energy":17.25,"sent":${1e15 + sequence}}`)
    const of = { topic: `bench/readings/device-${device}`, clientId: `reader-${device}`, user: '', packetId: 0 }
    return { ...of, sequence, receivedAt: 1.7e15 + sequence, payload, qos: 1, retain: false }
  }
  const begin = monotonicMicros()
  const end = begin + seconds * 1e6
  const publish = async () => {
    while (monotonicMicros() < end) {
      await publisher.publish(Array.from({ length: atOnce }, () => copies.of(next())))
      confirmed += atOnce
    }
  }
  try {
    // While the confirms of one call come in, the next one is under way.
    await Promise.all([publish(), publish()])
    return (confirmed * 1e6) / (monotonicMicros() - begin)
  } finally {
    await connection.close()
  }
}
