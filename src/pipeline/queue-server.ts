import { clusterOf, holderOf } from '../cluster/hub-settings.js'
import { queueServerName } from '../config/config.js'
import type { Settings } from '../config/settings.js'
import type { KafkaLogin } from '../kafka/kafka.js'
import type { DeadLetters, QueueServer } from '../queue/queue.js'
import type { Part } from '../runtime/lifecycle.js'
import { machineClock } from '../runtime/time.js'
import type { Dependencies } from './dependencies.js'

/*
 * The server between hub and store that the settings choose: RabbitMQ, Kafka, or none.
 */

/** Bytes that a record of Kafka may have beside the payload of a message. */
const recordOverhead = 1_000_000

/** Returns where the settings have Kafka, and the login there. */
export function kafkaLoginOf(settings: Settings): KafkaLogin {
  return {
    brokers: settings['kafka.brokers'],
    mechanism: settings['kafka.sasl.mechanism'],
    user: settings['kafka.sasl.user'],
    password: settings['kafka.sasl.password'],
    passwordFile: settings['kafka.sasl.passwordFile'],
    tls: settings['kafka.tls.enabled'],
    ca: settings['kafka.tls.ca'],
    cert: settings['kafka.tls.cert'],
    key: settings['kafka.tls.key'],
  }
}

/** Longest time that a start waits for RabbitMQ, to find out whether another hub uses it. The spool takes messages without. */
const admissionMs = 5_000

/**
 * Opens the server that the settings choose; undefined without any.
 *
 * @param isFirst Whether to reject with `hub_clash` when a hub that this one does not know uses the same virtual host of
 *   RabbitMQ. Without an answer in time, that is found out later, as in a thread that is started again: the connections
 *   say so, and the spool keeps the messages
 */
export async function openQueueServer(
  settings: Settings,
  hubId: string,
  consumesReceipts: boolean,
  dependencies: Dependencies,
  isFirst = false,
): Promise<QueueServer | undefined> {
  const kind = queueServerName(settings)
  const shared = { hubId, consumesReceipts, clock: machineClock }
  if (kind === 'RabbitMQ') {
    const { RabbitMq } = await import('../rabbitmq/rabbitmq.js')
    const rabbit = new RabbitMq({
      ...shared,
      urls: settings['rabbitmq.url'],
      holder: consumesReceipts ? holderOf(clusterOf(settings), hubId) : undefined,
      envelope: settings['rabbitmq.envelope'],
      headers: settings['rabbitmq.headers'],
      channels: settings['rabbitmq.channels'],
      window: settings['rabbitmq.window'],
      prefetch: settings['rabbitmq.prefetch'],
      state: (up, detail, node) => dependencies.heard('queue', up, detail, node),
    })
    try {
      if (isFirst) await rabbit.admitted(admissionMs)
    } catch (error) {
      await rabbit.stop()
      throw error
    }
    return rabbit
  }
  if (kind === undefined) return undefined
  const { Kafka } = await import('../kafka/kafka.js')
  return new Kafka({
    ...shared,
    login: kafkaLoginOf(settings),
    topics: {
      prefix: settings['kafka.prefix'],
      partitions: settings['kafka.partitions'],
      maxMessage: settings['limits.packet'] + recordOverhead,
    },
    rules: { create: settings['kafka.create'], replication: settings['kafka.replication'] },
    envelope: settings['kafka.envelope'],
    windowBytes: settings['kafka.window'],
    sessionMs: settings['kafka.session'],
    listener: { onCluster: (up, detail) => dependencies.heard('queue', up, detail) },
  })
}

/** Returns whether this hub stores what it has handed to the server. */
export function storesHere(settings: Settings): boolean {
  return settings['rabbitmq.record'] && settings['kafka.record']
}

/** Returns the server, if there is one, and the files of dead letters, if the letters are there, as parts to be run. */
export function queueParts<Files extends DeadLetters & Part>(
  server: QueueServer | undefined,
  dead: DeadLetters,
  files: Files,
): readonly Part[] {
  const isElsewhere = Object.is(dead, server)
  return [
    ...(isElsewhere ? [] : [files]),
    ...(server ? [{ name: server.name, start: () => {}, stop: () => server.stop() }] : []),
  ]
}
