import {
  array,
  boolean,
  closed,
  integer,
  object,
  optional,
  pair,
  record,
  type Schema,
  string,
  union,
  withDefault,
  words,
} from './schema.js'

/** Properties of a message beside its payload. */
const messageProperties = {
  qos: withDefault(integer('1 and 2: also kept for sessions of absent clients', { minimum: 0, maximum: 2 }), 1),
  retain: optional(boolean('Kept as the newest message of the topic; an empty payload clears that')),
  contentType: optional(string('MQTT 5')),
  responseTopic: optional(string('Topic for answers (MQTT 5)')),
  correlationData: optional(string('Base64; comes back with the answer (MQTT 5)')),
  messageExpiry: optional(
    integer('Seconds after which the message is no longer delivered', { minimum: 0, maximum: 4_294_967_295 }),
  ),
}

/** A message that a request publishes. */
export const publishedMessage = closed({
  topic: string(),
  payload: {
    description: 'A text as it is, or with `encoding`; any other value as its JSON text',
  } as Schema,
  encoding: optional(words(['text', 'base64', 'json'], '`json`: also a string is published as JSON, in quotes')),
  ...messageProperties,
  userProperties: optional(union([array(pair), record(string())], 'Pairs of name and value, or an object (MQTT 5)')),
})

/** The declaration of POST /api/publish. */
export const publish = {
  summary: 'Publishes one message or many: 200 when all are on disk and on their way to subscribers',
  description:
    'In JSON a message, an array of up to 1,000, or `{messages: […]}`. A body of any other media type, or any body ' +
    'with `topic` in the query, is the payload of one message. The rules of the user apply as over MQTT. If a message ' +
    'is wrong or not allowed, none is published, and `index` says which; when the disk has refused some, `kept` lists ' +
    'the others. With the header `Idempotency-Key` (up to 255 characters) a request may be sent again: within 24 ' +
    'hours it is answered without publishing twice, also after a crash of the hub. The same key with another body is 422.',
  query: closed({ ...messageProperties, topic: optional(string('Topic of a body that is the payload')) }),
  body: union([publishedMessage, array(publishedMessage), object({ messages: array(publishedMessage) })]),
  problems: {
    403: 'A rule forbids one of the messages: `index` says which',
    413: 'A message, or the request, is too large',
    422: 'The Idempotency-Key belongs to another request',
    429: 'More than the user may publish now; Retry-After says when to come back',
    503: 'The spool is full, the disk refuses, or too much is waiting: `kept` lists what is published all the same',
  },
  answer: object({
    messages: array(object({ sequence: integer('Place in the spool, as in the dead letters') }), 'In the order given'),
  }),
} as const
