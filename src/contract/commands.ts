import {
  array,
  boolean,
  closed,
  integer,
  number,
  object,
  optional,
  type Schema,
  said,
  string,
  withDefault,
  words,
} from './schema.js'

/* Commands to devices. */

const bytes = {
  payload: string('Text, or base64'),
  encoding: words(['text', 'base64']),
}

export const commandStates = ['queued', 'sent', 'delivered', 'answered', 'failed', 'expired', 'cancelled'] as const

export const command = object({
  id: string(),
  topic: string(),
  client: optional(string('The client that is meant; left out: the one that subscribes to the topic most exactly')),
  ...bytes,
  user: string('Who asked; empty without a login'),
  via: words(['http', 'mqtt', 'amqp', 'socket.io']),
  state: words(
    commandStates,
    'queued: held back. sent: the device may have it. delivered: acknowledged. answered: done, says the device',
  ),
  over: boolean('Whether the state is final'),
  reason: optional(string('Why the state is what it is, for people')),
  said: optional(said),
  family: optional(string('Preset by which the answer is recognised')),
  askedAt: number(),
  expiresAt: number('When the command must not reach the device any more'),
  sentAt: optional(number('When it was last sent')),
  deliveredAt: optional(number('When the device acknowledged it')),
  overAt: optional(number()),
  sends: integer('How often it was sent; from the second time on marked as sent before (DUP)'),
  answer: optional(
    object({
      ...bytes,
      topic: string('Topic on which the answer came'),
      good: boolean('Whether the device has done what it was told'),
      cut: boolean('Whether this is only the beginning'),
    }),
  ),
})

const id = closed({ id: string('As POST /api/commands answers it', { maxLength: 100 }) })

export const commands = {
  'POST /api/requests': {
    summary: 'Asks a service: 200 when the request is on disk, with `wait` when it is over',
    description:
      'The request goes to `$hub/requests/{service}`: into RabbitMQ (exchange telehub.requests), if there is one, else to one ' +
      'of the MQTT clients that share a subscription to it. It is a command, with the states of one. The rules of the user ' +
      'apply as for a publish to the topic. The header `Idempotency-Key` counts as for commands.',
    body: closed({
      service: string('Service, and what is asked of it: `orders/create`', { minLength: 1, maxLength: 1_000 }),
      payload: { description: 'A text as it is, or with `encoding`; any other value as its JSON text' } as Schema,
      encoding: optional(words(['text', 'base64', 'json'], '`json`: also a string is sent as JSON, in quotes')),
      expiry: optional(number('Seconds; default: commands.expiry', { exclusiveMinimum: 0, maximum: 2_592_000 })),
      wait: withDefault(number('Most seconds to wait for the answer', { minimum: 0, maximum: 300 }), 30),
    }),
    problems: {
      403: 'The user may not publish to the topic',
      413: 'The payload is larger than limits.packet',
      422: 'The Idempotency-Key belongs to another request',
      429: 'The user has as many commands under way as limits.commands allows',
    },
    answer: command,
  },
  'POST /api/commands': {
    summary: 'Sends a command to a device: 200 when it is on disk, with `wait` when it is over',
    description:
      'The rules of the user apply as for a publish to the topic. The command is held back while the device is away, and ' +
      'is never sent once it has expired. `wait` is how long the answer to this request may take; the command goes on after ' +
      'that. With the header `Idempotency-Key` the request may be sent again, also after a crash of the hub: it is the same ' +
      'command for as long as the hub remembers it, a day after its end.',
    body: closed({
      topic: optional(string('Topic of the command. Without it `device` must have one')),
      device: optional(string('Id or name of a device that discovery describes, which has one topic for commands')),
      entity: optional(string('Name or field of one value of the device, where it has several topics for commands')),
      client: optional(string('Client id of the one client that is meant', { maxLength: 4_096 })),
      payload: { description: 'A text as it is, or with `encoding`; any other value as its JSON text' } as Schema,
      encoding: optional(words(['text', 'base64', 'json'], '`json`: also a string is sent as JSON, in quotes')),
      expiry: optional(number('Seconds; default: commands.expiry', { exclusiveMinimum: 0, maximum: 2_592_000 })),
      wait: withDefault(number('Most seconds to wait for the end', { minimum: 0, maximum: 300 }), 0),
    }),
    problems: {
      403: 'The user may not publish to the topic',
      404: 'There is no such device',
      413: 'The payload is larger than limits.packet',
      422: 'The Idempotency-Key belongs to another request',
      429: 'The user has as many commands under way as limits.commands allows',
    },
    answer: command,
  },
  'GET /api/commands': {
    summary: 'Commands, the newest first: those under way, and those that ended within a day',
    description: 'Callers see the commands to topics that they may read, and their own.',
    query: closed({
      topic: optional(string('Topic filter')),
      client: optional(string('Client id')),
      state: optional(words(commandStates)),
      open: optional(boolean('true: only commands that are under way; false: only those that are over')),
      limit: withDefault(integer(undefined, { minimum: 1, maximum: 10_000 }), 100),
    }),
    answer: object({ commands: array(command) }),
  },
  'GET /api/commands/:id': {
    summary: 'One command',
    params: id,
    problems: { 404: 'There is no such command, or the caller may not see it' },
    answer: command,
  },
  'DELETE /api/commands/:id': {
    summary: 'Cancels a command: it is not sent, or not again',
    description: 'Whoever may publish to the topic of the command may cancel it.',
    params: id,
    problems: { 404: 'There is no such command', 409: 'The device has the command, or the command is over' },
    answer: command,
  },
} as const
