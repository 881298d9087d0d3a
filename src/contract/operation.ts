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
  imported: object(
    { rows: integer(), stored: integer(), dead: integer(), ignored: integer() },
    'Rows of imported files: an account of their own, `rows` is the sum of the others',
  ),
  lost: integer('Messages that incidents report as lost; no term of the sum'),
  reasons: object({
    dead: record(integer(), 'Dead letters by reason'),
    refused: record(integer(), 'Refused messages by reason'),
  }),
  expired: optional(
    object(
      {
        readings: integer('Readings (raw) and rows of roll-ups'),
        series: integer('The most series that one turn has deleted of'),
        from: number('Time of the oldest of them'),
        to: number('Time of the newest of them'),
      },
      'What retention has deleted from the store (store.keep, store.limit); readings, and no term of the sum of messages',
    ),
  ),
  hours: array(object(hourRow), 'All clients, the newest hour first'),
  devices: array(object({ ...hourRow, clientId: string() }), 'Each client, the newest hour first'),
})

const tier = words(['raw', '1m', '1h', '1d'], 'Readings as stored, or their roll-ups')

export const store = object({
  kind: words(['duckdb', 'influxdb'], 'With InfluxDB only `keep` and `held` are told'),
  keep: string('How long readings are kept (store.keep, or what was asked for), such as raw=90d; empty: for ever'),
  limit: integer('store.limit in bytes; 0: none'),
  bytes: optional(integer('Bytes of the files')),
  used: optional(integer('Bytes of them that hold something; the others are filled before the files grow')),
  diskFree: optional(integer()),
  held: optional(string('Why nothing is deleted just now')),
  rolledUp: optional(
    object(
      {
        until: optional(
          number('Everything before is rolled up, except the hours that wait; left out while nothing is'),
        ),
        behind: number('Milliseconds between that and the newest reading; about a minute when nothing waits'),
        waiting: integer('Hours of a series to roll up anew, as readings came late or were changed'),
      },
      'How far the roll-ups are',
    ),
  ),
  tables: array(
    object({
      tier,
      rows: integer(),
      bytes: integer(),
      oldest: optional(number()),
      newest: optional(number()),
      perDay: number('Rows that came in a day, on the average of the last seven days'),
      bytesPerDay: number(),
    }),
  ),
  forecast: optional(
    object(
      {
        at: array(object({ days: integer(), bytes: integer() }), 'Bytes of the store in so many days'),
        most: optional(integer('Bytes that the store comes to in the end; left out when it grows for ever')),
        fullInDays: optional(
          integer('When store.limit, or the disk, is full; left out when that is not so within ten years'),
        ),
      },
      'If as much arrives as in the last seven days',
    ),
  ),
  deleted: array(
    object({
      tier,
      why: words(['age', 'limit'], 'Kept long enough; or the store was at store.limit'),
      day: number('Day (UTC) on which it was deleted'),
      readings: integer(),
      series: integer('The most series that one turn has deleted of'),
      from: number('Time of the oldest of them'),
      to: number('Time of the newest of them'),
    }),
    'The newest day first, at most 400 rows',
  ),
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
        node: optional(string('The node of RabbitMQ that is in use, as host and port')),
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
