import { HubError } from '../errors.js'
import type { Message, Outcome } from '../model.js'
import type { Outlet } from '../queue/queue.js'
import { unlessAborted } from '../runtime/retry.js'
import { accessOf, type KafkaLogin } from './access.js'
import { KafkaClient, type TopicRules } from './client.js'
import { KafkaProducer, outcomesOf } from './producer.js'
import { messageRecord } from './records.js'
import { outletTopic } from './topics.js'

export interface KafkaOutletPlan {
  readonly login: KafkaLogin
  readonly topic: string
  /** Partitions of the topic, if it is made. */
  readonly partitions: number
  /** Largest record that the topic takes, if it is made, in bytes. */
  readonly maxMessage: number
  readonly rules: TopicRules
  readonly windowBytes: number
}

/** Beginnings of the names of the members of the settings that a plan comes from. */
const memberNames = { sasl: '', tls: '' }

/** Hands messages to a topic of Kafka, a record each. */
export class KafkaOutlet implements Outlet {
  readonly #plan: KafkaOutletPlan
  readonly #hubId: string
  readonly #producer: KafkaProducer

  constructor(plan: KafkaOutletPlan, name: string, hubId: string) {
    const { login, topic, rules, windowBytes } = plan
    this.#plan = plan
    this.#hubId = hubId
    const client = new KafkaClient(accessOf(login, memberNames), `telehub-${hubId}-${name}`)
    const topics = [outletTopic(topic, plan)]
    this.#producer = new KafkaProducer({ client, topics, rules, windowBytes }, { onCluster: () => {} })
  }

  async deliver(messages: readonly Message[], signal: AbortSignal): Promise<readonly Outcome[] | undefined> {
    const records = messages.map(message => messageRecord(this.#plan.topic, message, this.#hubId))
    const sent = await unlessAborted(this.#producer.send(records), signal).catch(error => {
      throw new HubError('outlet_unavailable', (error as Error).message.replace(/^Kafka: /, ''), { cause: error })
    })
    if (!sent) throw new HubError('stopping', 'the outlet is stopped')
    return outcomesOf(sent, messages)
  }

  async close(): Promise<void> {
    await this.#producer.close()
  }
}
