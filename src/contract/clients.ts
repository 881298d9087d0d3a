import { array, boolean, closed, integer, number, object, optional, string, withDefault, words } from './schema.js'

/* MQTT clients: who is connected, how much they say and take, and how administrators end that. Times are milliseconds. */

const client = object({
  clientId: string(),
  user: string('Empty without a login'),
  connected: boolean(),
  kept: boolean('Whether the session outlives the connection'),
  address: optional(string()),
  listener: optional(string('mqtt, mqtts, ws or wss')),
  version: optional(string('Of MQTT')),
  since: optional(number('Since when it is connected')),
  absentSince: optional(number('When it left; its session is kept')),
  sincePublish: optional(number('Milliseconds since its last publish on this connection')),
  subscriptions: integer(),
  filters: array(string(), 'Topic filters that it is subscribed to, at most 50'),
  queued: integer('Messages to be sent or to be acknowledged'),
  queuedBytes: integer('Bytes of the messages to be sent'),
  isFull: boolean('It takes less than is sent, so that QoS 0 finds no room'),
  publishes: integer('On this connection'),
  bytesInPerSecond: number('Since the list was last asked for, or since it connected'),
  bytesOutPerSecond: number(),
  publishesPerSecond: number(),
})

const names = {
  client: optional(string('Client id')),
  user: optional(string('User name; empty for clients without a login')),
}

export const imposedBan = object({
  kind: words(['client', 'user', 'address']),
  name: string('A client id, a user, or a source: an IPv4 address, or the first 64 bits of IPv6 addresses'),
  since: number(),
  until: number(),
  by: string('Who has imposed it'),
})

/** The declarations of the routes of clients. */
export const clients = {
  'GET /api/clients': {
    summary:
      'MQTT clients that are connected, and sessions that are kept: address, version, subscriptions, queue, traffic',
    description: '`count` is how many there are, also beyond `limit`. `talkers` publish most, `slow` take least.',
    allow: 'everything',
    query: closed({
      search: optional(string('Only those whose id, user or address contains this', { maxLength: 500 })),
      sort: withDefault(words(['name', 'in', 'out', 'queue', 'since']), 'name'),
      limit: withDefault(integer(undefined, { minimum: 1, maximum: 1_000 }), 200),
    }),
    answer: object({
      count: integer(),
      connected: integer('Of all clients'),
      clients: array(client),
      talkers: array(client),
      slow: array(client),
    }),
  },
  'POST /api/clients/disconnect': {
    summary: 'Closes the connection of a client; its session stays, and it may come back',
    description: 'Clients of MQTT 5 get the reason 0x98, administrative action. The will is published.',
    allow: 'change',
    problems: { 404: 'No such client is connected' },
    body: closed({ ...names, client: string('Client id') }),
    answer: object({ disconnected: integer() }),
  },
  'POST /api/bans': {
    summary: 'Bans a client id, a user or an address from MQTT for a time, and disconnects those that are connected',
    description: 'This machine and trusted proxies cannot be banned. The audit log says who did it.',
    allow: 'change',
    body: closed({
      kind: words(['client', 'user', 'address']),
      name: string(undefined, { minLength: 1, maxLength: 65_535 }),
      seconds: integer('How long', { minimum: 1, maximum: 315_360_000 }),
    }),
    answer: object({ ban: imposedBan, disconnected: integer() }),
  },
} as const
