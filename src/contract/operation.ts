import { array, boolean, integer, number, object, optional, record, string, words } from './schema.js'

/* Answers to operators: whether the hub is well, and what became of the messages. */

const counts = {
  received: integer(),
  stored: integer(),
  dead: integer('In the dead letters'),
  dropped: integer('Dead letters that an operator has dropped'),
  refused: integer(),
  residual: integer('Messages that are missing'),
  partly: integer('Messages in `dead` of which some values are stored; no term of the sum'),
  ignored: integer('Messages in `stored` that are no readings: descriptions, commands, logs; no term of the sum'),
}

const hourRow = {
  hour: number('Beginning of the hour'),
  ...counts,
  waiting: integer('Messages in the spool or the queue'),
}

export const balance = object({
  since: number('Beginning of the account'),
  ...counts,
  spool: integer(),
  queue: integer(),
  lost: integer('Messages that incidents report as lost; no term of the sum'),
  reasons: object({
    dead: record(integer(), 'Dead letters by reason'),
    refused: record(integer(), 'Refused messages by reason'),
  }),
  hours: array(object(hourRow), 'All clients, the newest hour first'),
  devices: array(object({ ...hourRow, clientId: string() }), 'Each client, the newest hour first'),
})

export const spool = object({
  bytes: integer(),
  limit: integer(),
  keptBytes: integer('Bytes in segments that every cursor has passed'),
  segments: array(
    object({
      segment: integer('First sequence number'),
      bytes: integer(),
      from: optional(number('When the first message was received; left out while there is none')),
      to: optional(number('When the last message was received; left out while the segment is being written')),
      kept: boolean('Whether every cursor has passed the segment'),
    }),
  ),
  archive: optional(
    object(
      {
        bytes: integer(),
        limit: integer(),
        keepMs: integer('How long messages are kept after their receipt'),
        rawBytes: integer('Bytes before compression'),
        messages: integer(),
        segments: integer(),
        from: optional(number('When the first message was received; left out while the archive is empty')),
        to: optional(number('When the last message was received')),
        added: integer('Segments archived since the hub started'),
        expired: integer('Segments deleted after their time'),
        givenUp: integer(
          'Segments deleted before their time: beyond the limit, or as the spool or the disk needed room',
        ),
      },
      'Messages that the spool has let go of; left out without spool.archive',
    ),
  ),
  cursors: array(
    object({
      name: string(),
      sequence: integer('Sequence number of the next message'),
      lag: integer('Messages that the cursor has yet to pass'),
      lagBytes: integer(),
      oldest: optional(number('When the next message was received; left out at the end of the spool')),
    }),
  ),
})

export const readiness = object({
  ready: boolean(),
  dependencies: optional(
    array(
      object({
        name: string(),
        state: words(['up', 'down', 'starting']),
        detail: optional(string('Why it is down')),
        since: optional(number('Since when it is down')),
        retryAt: optional(number('Time of the next attempt')),
      }),
    ),
  ),
  waiting: optional(
    array(
      object({ consumer: string(), target: string(), detail: string() }),
      'Consumers that cannot continue, and the dependency that is down',
    ),
  ),
  restoring: optional(
    object({
      sessions: integer('Kept sessions restored so far'),
      retained: integer('Retained messages restored so far'),
    }),
  ),
  alarms: optional(array(object({ name: string(), detail: string() }), 'Each is over when the cause is')),
  incidents: optional(
    array(
      object({
        kind: string(),
        count: integer(),
        first: number(),
        last: number(),
        detail: string('The latest sentence'),
        lost: object({ messages: integer(), bytes: integer() }),
      }),
      'Damage since the start, by kind: what was lost, truncated or set aside, and clocks that jumped',
    ),
  ),
})
