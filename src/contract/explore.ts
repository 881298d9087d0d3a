import {
  array,
  boolean,
  closed,
  constant,
  integer,
  number,
  object,
  optional,
  pair,
  record,
  string,
  union,
  withDefault,
  words,
} from './schema.js'

/* Topics as they come: the tree of all, the messages of one, and what is retained. Times are milliseconds. */

/** MQTT 5 properties of a message. */
export const messageProperties = {
  payloadFormat: optional(integer('1: the publisher has marked the payload as UTF-8 (MQTT 5)')),
  contentType: optional(string('MQTT 5')),
  responseTopic: optional(string('MQTT 5')),
  correlationData: optional(string('Base64 (MQTT 5)')),
  userProperties: optional(array(pair, 'Pairs of name and value (MQTT 5)')),
  expiresAt: optional(number()),
}

const topicName = (description?: string) => string(description, { maxLength: 65_535 })

const level = object({
  name: string('One level; of a search the whole topic'),
  topics: integer('Topics at this level and below'),
  messages: integer('Messages on these since the start'),
  rate: number('Messages in a second, over the last ten to twenty seconds'),
  last: optional(number('When the newest message came')),
  isOpenable: optional(constant(true, 'There are levels below')),
  /** Left out where there is no topic of this name, but only topics below. */
  own: optional(
    object({
      size: integer('Bytes of the newest payload'),
      client: string('Who published it'),
      user: string(),
      fate: optional(
        words(
          ['stored', 'ignored', 'refused'],
          'Of the newest message of which it is known: stored; no reading, as commands and descriptions; not stored',
        ),
      ),
      reason: optional(string('Why it is not stored')),
      retained: optional(constant(true, 'The topic has a retained message')),
    }),
  ),
})

/** The place of a mapping rule. */
export const rulePlace = object({
  from: words(['hub', 'settings'], 'One that the hub keeps itself (/api/mapping), or one of the settings'),
  number: integer('Of these, from 1 on'),
})

/** The outcome of the mapping for a message. */
export const mapped = {
  rule: optional(string('Topic of the rule that decides')),
  place: optional(rulePlace),
  preset: optional(string('Name of the preset that decides, where no rule does')),
  outcome: words(['stored', 'nothing', 'ignored', 'dead']),
  ignored: optional(string('What the message is, as it is no reading')),
  reason: optional(string('Why the message, or a part of it, would be a dead letter')),
  detail: optional(string('A sentence for people')),
  quality: optional(string()),
  clockError: optional(number('Milliseconds by which the clock of the device is wrong')),
  points: array(
    object({
      measurement: string(),
      tags: record(string()),
      fields: array(
        object({
          name: string(),
          value: union([number(), boolean(), string()]),
          unit: optional(string()),
        }),
      ),
      time: number(),
    }),
  ),
  absent: optional(array(string(), 'Series for which the message says that there is no value')),
}

/** A message as the page Explore shows one. */
export const shownMessage = {
  sequence: integer(),
  receivedAt: number(),
  clientId: string(),
  user: string(),
  qos: integer(),
  retain: boolean(),
  bytes: integer('Of the payload'),
  payload: string('Base64; of a long one the beginning, 64 KB'),
  ...messageProperties,
} as const

const message = object({
  ...shownMessage,
  mapped: object(mapped, 'What the mapping of now makes of it'),
})

/** The declarations of the routes of topics. */
export const explore = {
  'GET /api/topics': {
    summary: 'A level of the tree of topics, by pages; or the topics that a search finds',
    description:
      'Without `under` the first level. Sorted by name. `forgotten` topics are those beyond what the hub keeps in mind. ' +
      'Counts are those of the topics that the caller may read.',
    query: closed({
      under: optional(topicName('Levels before, such as `home/kitchen`')),
      search: optional(string('Only topics whose names contain all these words, at any depth', { maxLength: 500 })),
      after: optional(topicName('`next` of the page before')),
      limit: withDefault(integer(undefined, { minimum: 1, maximum: 1_000 }), 200),
    }),
    answer: object({
      topics: integer('Topics below, or found'),
      rate: number(),
      levels: array(level),
      next: optional(string()),
      incomplete: optional(constant(true, 'There were too many topics to count them all by the rules of the caller')),
      forgotten: integer('Topics that were forgotten since the start, as there were too many'),
    }),
  },
  'GET /api/topics/messages': {
    summary: 'The last messages of a topic: those that the spool still has, and what came since',
    description:
      'The newest first. Ask again with `after` to follow. `isWhole`: nothing between `after`, or the oldest message of the ' +
      'answer, and now is missing. The search goes back through some of the spool only, the newest segments first.',
    query: closed({
      topic: topicName(),
      after: optional(integer('Only messages with a higher sequence number', { minimum: 0 })),
      limit: withDefault(integer(undefined, { minimum: 1, maximum: 100 }), 20),
    }),
    answer: object({
      messages: array(message),
      isWhole: boolean(),
      mayPublish: boolean('Whether the caller may publish to the topic'),
      retained: optional(object({ bytes: integer(), clientId: string(), user: string() })),
    }),
  },
  'GET /api/retained': {
    summary: 'The retained messages that a topic filter matches, as far as the caller may read them',
    query: closed({
      filter: withDefault(topicName('Topic filter'), '#'),
      limit: withDefault(integer(undefined, { minimum: 1, maximum: 1_000 }), 200),
    }),
    answer: object({
      count: integer('All of them, also beyond `limit`'),
      messages: array(
        object({
          topic: string(),
          qos: integer(),
          clientId: string('Empty: the hub'),
          user: string(),
          bytes: integer('Of the payload'),
          payload: string('Base64; of a long one the beginning, 4 KB'),
          ...messageProperties,
        }),
      ),
    }),
  },
  'POST /api/retained/clear': {
    summary: 'Deletes the retained messages that a topic filter matches; what is stored stays',
    description: 'Subscribers are told, by an empty message, as when a client deletes one.',
    allow: 'change',
    body: closed({ filter: topicName('Topic filter') }),
    answer: object({ cleared: integer() }),
  },
} as const
