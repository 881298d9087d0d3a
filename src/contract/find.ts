import {
  array,
  boolean,
  closed,
  constant,
  integer,
  number,
  object,
  optional,
  string,
  withDefault,
  words,
} from './schema.js'

const instant = (description: string) => number(description, { minimum: 0, maximum: 253_402_300_800_000 })

/** Where a message is. */
export const find = {
  'GET /api/find': {
    summary: 'Where messages are: received, on disk, published, confirmed, stored or dead, each with its time',
    description:
      'Looks through what the spool (spool.keep) and the archive (spool.archive) still have, the oldest first, and answers with messages on topics that ' +
      'the caller may read. A time that nobody wrote down is a range: not before `after`, no later than `before`. ' +
      '`next` is there when the search has not come to the end: ask again with it as `after`, also when the page is empty.',
    query: closed({
      device: optional(string('Client id', { maxLength: 65_535 })),
      topic: optional(string('Topic filter', { maxLength: 65_535 })),
      packet: optional(
        integer('Packet identifier of a PUBLISH of QoS 2, of a client whose session outlives its connection', {
          minimum: 1,
          maximum: 65_535,
        }),
      ),
      hash: optional(string('SHA-256 of the payload, in hexadecimal', { minLength: 64, maxLength: 64 })),
      sequence: optional(integer('Sequence number of the hub', { minimum: 1 })),
      from: optional(
        instant('When the hub received it: included; default: an hour before `to`; with `sequence` alone any time'),
      ),
      to: optional(instant('Not included; default: now')),
      after: optional(integer('`next` of the page before', { minimum: 0 })),
      limit: withDefault(integer(undefined, { minimum: 1, maximum: 100 }), 20),
    }),
    answer: object({
      messages: array(
        object({
          sequence: integer(),
          topic: string(),
          clientId: string(),
          user: string(),
          qos: integer(),
          packet: optional(integer('Packet identifier, kept with QoS 2 in a session that outlives the connection')),
          size: integer('Bytes of the payload'),
          hash: string('SHA-256 of the payload'),
          hops: array(
            object({
              hop: words(['received', 'on disk', 'published', 'confirmed', 'stored', 'dead']),
              at: optional(number('When exactly')),
              after: optional(number('Not before')),
              before: optional(number('No later than')),
              isWaiting: optional(constant(true, 'Not yet')),
              reason: optional(string('Why it is not stored: a stable word')),
              detail: optional(string('The same, for people')),
              partly: optional(boolean('Some of its values are stored')),
            }),
            'In order. `stored` is also said of messages that are no readings; `published` and `confirmed` are of RabbitMQ',
          ),
        }),
      ),
      accepted: integer('Last sequence number of the spool'),
      next: optional(integer()),
      oldest: optional(number('When the oldest message was received that the spool or the archive has')),
    }),
  },
} as const
