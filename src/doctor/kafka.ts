import { describe } from '../errors.js'
import { lookAtKafka } from '../kafka/kafka.js'
import { kafkaLoginOf } from '../pipeline/queue-server.js'
import { type Check, type Finding, fine, problem, warning } from './finding.js'
import { hubIdOf } from './hub-id.js'

const check = 'Kafka'

/** Checks whether Kafka answers, whether the topics are there, and whether each has all of its copies. */
export const kafka: Check = async examined => {
  const { settings } = examined
  if (settings['kafka.brokers'].length === 0) return []
  try {
    const { brokers, missing, partitions, lagging } = await lookAtKafka(
      kafkaLoginOf(settings),
      settings['kafka.prefix'],
      hubIdOf(examined),
    )
    const found: Finding[] = []
    if (missing.length > 0 && !settings['kafka.create'])
      found.push(
        problem(
          check,
          `topics are missing, and kafka.create is false: ${missing.join(', ')}`,
          'Make them as docs/kafka.md says, or set kafka.create: true.',
        ),
      )
    for (const [topic, behind] of lagging)
      found.push(
        warning(
          check,
          `${behind} of ${partitions.get(topic)} partitions of ${topic} have copies that are behind`,
          'Start the brokers that are down. With fewer copies than min.insync.replicas Kafka takes no messages.',
        ),
      )
    const absent =
      missing.length > 0 && settings['kafka.create']
        ? `; not there yet, and made by the hub when it connects: ${missing.join(', ')}`
        : ''
    found.push(fine(check, `${brokers} ${brokers === 1 ? 'broker answers' : 'brokers answer'}${absent}`))
    return found
  } catch (error) {
    return [
      problem(
        check,
        describe(error).replace(/^Kafka: /, ''),
        'Start it, or fix kafka.brokers and kafka.sasl.*; meanwhile the spool keeps arriving messages, up to spool.limit.',
      ),
    ]
  }
}
