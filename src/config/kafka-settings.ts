import { flag, integer, list, oneOf, row, size, text } from './kinds.js'

const path = text('a file', /^[^\0]*$/)

/** Settings of the record path through Kafka. */
export const kafkaSettings = {
  'kafka.brokers': row(
    list(one => /^(?:\[[\da-f:.]+\]|[\w.-]+):\d{1,5}$/i.test(one), 'brokers as host:port, with commas between'),
    [] as readonly string[],
    'Kafka to which messages are bridged in place of RabbitMQ: some of its brokers, from which the others are learned. Empty: none.',
  ),
  'kafka.sasl.mechanism': row(
    oneOf('off', 'plain', 'scram-sha-256', 'scram-sha-512'),
    'off',
    'How the hub logs in at Kafka. off: not at all. plain sends the password, so use it with kafka.tls.enabled alone.',
  ),
  'kafka.sasl.user': row(text(), '', 'Name of the hub at Kafka.'),
  'kafka.sasl.password': row(
    { ...text(), isSecret: true },
    '',
    'Password of the hub at Kafka. Taken from the environment alone (TELEHUB_KAFKA_SASL_PASSWORD); otherwise use kafka.sasl.passwordFile.',
  ),
  'kafka.sasl.passwordFile': row(path, '', 'File with the password alone, which only its owner may read (chmod 600).'),
  'kafka.tls.enabled': row(flag, false, 'Whether connections to Kafka are encrypted.'),
  'kafka.tls.ca': row(
    path,
    '',
    'With kafka.tls.enabled: certificates (PEM) of the authorities of the brokers. Empty: those that Node.js trusts.',
  ),
  'kafka.tls.cert': row(path, '', 'With kafka.tls.enabled: certificate (PEM) with which the hub logs in.'),
  'kafka.tls.key': row(path, '', 'Private key (PEM) of kafka.tls.cert.'),
  'kafka.envelope': row(
    oneOf('message', 'batch'),
    'message',
    'message: a record for each message on telehub.telemetry, which other programs can read. batch: records of many messages on telehub.batches, which is faster.',
  ),
  'kafka.prefix': row(
    text('at most 100 letters, digits, ., _ and -', /^[\w.-]{0,100}$/),
    'telehub.',
    'Beginning of the names of all topics and consumer groups of the hub.',
  ),
  'kafka.create': row(
    flag,
    true,
    'Whether the hub makes topics that are missing. false: it waits until somebody has made them.',
  ),
  'kafka.partitions': row(
    integer(1, 1_000),
    6,
    'Partitions of a topic that the hub makes: as many processes can store side by side. Adding some later changes the partition of clients.',
  ),
  'kafka.replication': row(
    integer(0, 10),
    0,
    'Copies of each partition of a topic that the hub makes. 0: one on each broker, three at most.',
  ),
  'kafka.window': row(size(65_536), 8e6, 'Bytes that may be on their way to Kafka without an acknowledgement.'),
  'kafka.session': row(
    integer(1_000, 300_000),
    15_000,
    'Milliseconds without a sign of life after which Kafka gives the partitions of a consumer to others. The brokers limit it (group.min.session.timeout.ms).',
  ),
  'kafka.record': row(
    flag,
    true,
    'Whether this hub stores what it has sent to Kafka. false leaves that to telehub process on other machines.',
  ),
}
