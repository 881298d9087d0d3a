import { flag, integer, oneOf, type SettingFields, size } from '../config/settings.js'
import type { OutletKind } from './kind.js'

const file = /^[^\0]+$/

/** A topic of Kafka, with a record for each message, as docs/kafka.md describes. */
export const kafkaKind: OutletKind = {
  read: (fields: SettingFields) => {
    const brokers = fields.list(
      'brokers',
      'a list of host:port, at least one broker',
      /^(?:\[[\da-f:.]+\]|[\w.-]+):\d{1,5}$/i,
    )
    const mechanism = fields.value('mechanism', oneOf('off', 'plain', 'scram-sha-256', 'scram-sha-512'), 'off')
    const isLogin = mechanism !== 'off'
    const path = (name: string) => fields.text(name, 'a file', file, false)
    const plan = {
      login: {
        ...{ brokers, mechanism, passwordFile: '' },
        user: fields.text('user', 'the name of the hub at Kafka', /^[^\0]+$/, isLogin),
        password: fields.secret('password', 'a text, from the environment or from a file', isLogin),
        tls: fields.value('tls', flag, false),
        ca: path('ca'),
        cert: path('cert'),
        key: path('key'),
      },
      topic:
        fields.text('topic', 'a name of letters, digits, ., _ and -', /^[\w.-]{1,249}$/, false) || 'telehub.telemetry',
      partitions: fields.value('partitions', integer(1, 1_000), 6),
      maxMessage: fields.value('maxMessage', size(1_000), 5e6),
      rules: {
        create: fields.value('create', flag, true),
        replication: fields.value('replication', integer(0, 10), 0),
      },
      windowBytes: fields.value('window', size(65_536), 8e6),
    }
    if ((plan.login.cert === '') !== (plan.login.key === ''))
      fields.fault('cert', 'given without key, or key without cert')
    return {
      shown: `${brokers[0] ?? ''} ${plan.topic}`,
      batch: 10_000,
      restMs: 25,
      open: async ({ name, hubId }) => {
        const { KafkaOutlet } = await import('../kafka/outlet.js')
        return new KafkaOutlet(plan, name, hubId)
      },
    }
  },
}
