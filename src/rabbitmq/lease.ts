import { setTimeout as sleep } from 'node:timers/promises'
import { describe, HubError } from '../errors.js'
import { type Channel, type ChannelModel, type ConnectionGate, exchanges } from './connection.js'

/** The queue whose arguments say who uses this virtual host. The queue is always empty. */
export const leaseQueue = 'telehub.lease'

/** Time for RabbitMQ to notice that a process is gone, such as one that was just killed, in milliseconds. */
const noticeMs = 2_000
const retryMs = 100

/** Time that RabbitMQ has to answer, in milliseconds. */
const answerMs = 5_000

/** Attempts to replace the lease of those who are gone: another hub may do the same at this moment. */
const maxReplacements = 5

/**
 * Takes part in the lease of a virtual host, or rejects with `hub_clash`, naming those who hold it.
 *
 * The lease is a quorum queue with the holder in an argument, which RabbitMQ compares whenever the queue is declared: so
 * exactly one holder is possible, and the hub of a holder may come back at any time, even while RabbitMQ has not noticed
 * that the old connection is dead. The hubs of a cluster are one holder. Every connection of a hub consumes from the
 * queue; a lease without consumers is nobody's, and is replaced.
 *
 * @param lost Called when the queue is gone: this connection has no part in the lease any more
 */
async function takeLease(model: ChannelModel, holder: string, lost: () => void): Promise<void> {
  const deadline = performance.now() + noticeMs
  for (let replacements = 0; ; ) {
    if ((await assertLease(model, holder)) === undefined) break
    if ((await isUnused(model)) && replacements++ < maxReplacements) {
      await onChannel(model, channel => channel.deleteQueue(leaseQueue))
      continue
    }
    if (performance.now() > deadline) throw refusal(await currentHolder(model), holder)
    await sleep(retryMs)
  }
  const channel = await model.createChannel()
  channel.on('error', () => {})
  const consuming = channel.consume(
    leaseQueue,
    got => {
      if (got === null) lost()
    },
    { noAck: true },
  )
  try {
    await inTime(consuming)
  } catch (error) {
    // RabbitMQ 3.10 spoils a quorum queue when killed within seconds of the declaration, and says so. A queue that does not
    // answer may be sound, and others may consume from it.
    if (!(error instanceof LateAnswer)) await inTime(removeSpoilt(model)).catch(() => {})
    throw error
  }
}

class LateAnswer extends Error {}

/** Rejects with {@link LateAnswer} when RabbitMQ does not answer in time. */
async function inTime(answer: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new LateAnswer(`RabbitMQ does not answer about ${leaseQueue}`)), answerMs)
  })
  answer.catch(() => {})
  await Promise.race([answer, late]).finally(() => clearTimeout(timer))
}

/** Returns what RabbitMQ says against this holder. Undefined when the lease is this holder's. */
async function assertLease(model: ChannelModel, holder: string): Promise<string | undefined> {
  try {
    await onChannel(model, channel =>
      channel.assertQueue(leaseQueue, {
        durable: true,
        // The one argument that takes any text and is compared. Nothing is dead-lettered from an empty queue. The exchange
        // is one of the hub's own: RabbitMQ checks the right to write to it.
        deadLetterExchange: exchanges.dead,
        deadLetterRoutingKey: holder,
        arguments: { 'x-queue-type': 'quorum' },
      }),
    )
    return undefined
  } catch (error) {
    const said = describe(error)
    if (/PRECONDITION[_-]FAILED/.test(said)) return said
    throw error
  }
}

/** Returns whether nobody holds the lease. Rejects when RabbitMQ cannot know at this moment. */
async function isUnused(model: ChannelModel): Promise<boolean> {
  try {
    let consumers = 0
    await onChannel(model, async channel => {
      consumers = await consumersOf(channel)
      if (consumers > 0) return
      // RabbitMQ says the same of a queue without a leader, which may have consumers. Only a leader answers this.
      await channel.get(leaseQueue, { noAck: true })
      consumers = await consumersOf(channel)
    })
    return consumers === 0
  } catch (error) {
    if (/NOT[_-]FOUND/.test(describe(error))) return true
    throw error
  }
}

async function consumersOf(channel: Channel): Promise<number> {
  return (await channel.checkQueue(leaseQueue)).consumerCount
}

async function removeSpoilt(model: ChannelModel): Promise<void> {
  await onChannel(model, async channel => {
    if ((await consumersOf(channel)) === 0) await channel.deleteQueue(leaseQueue)
  })
}

/** Runs an action on a separate channel, as an error ends the channel. */
async function onChannel(model: ChannelModel, action: (channel: Channel) => Promise<unknown>): Promise<void> {
  const channel = await model.createChannel()
  channel.on('error', () => {})
  await action(channel)
  await channel.close()
}

/** Asks RabbitMQ for the holder: the answer has 255 bytes, of which a short question leaves the most. */
async function currentHolder(model: ChannelModel): Promise<string> {
  const said = (await assertLease(model, '?')) ?? ''
  const [, current = 'another hub', end] = /but current is (?:the value )?'([^']*)('?)/.exec(said) ?? []
  if (current === '') return 'another hub'
  return end === '' ? `${current} …` : current
}

function refusal(current: string, holder: string): HubError {
  return new HubError(
    'hub_clash',
    `this virtual host of RabbitMQ is in use by ${current}, and this is ${holder}. Two hubs that do not know each other ` +
      'take messages, commands and readings from each other. Either make them a cluster: the same cluster.name, rabbitmq.url ' +
      'and store (influx.url, influx.org, influx.bucket) for all of them, each spelled alike; or give this hub a virtual host of its own (rabbitmqctl add_vhost NAME, ' +
      'and rabbitmq.url amqp://…/NAME). If the other one is gone for good, RabbitMQ notices within 30 s: start again then',
  )
}

/** Lets the connections of one holder in, as {@link takeLease} does. */
export class HostLease implements ConnectionGate {
  readonly #holder: string

  /** @param holder Who uses the virtual host, in words */
  constructor(holder: string) {
    this.#holder = holder
  }

  admit(model: ChannelModel, lost: () => void): Promise<void> {
    return takeLease(model, this.#holder, lost)
  }
}
