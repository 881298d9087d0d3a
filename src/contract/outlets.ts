import { array, boolean, closed, integer, number, object, optional, string, words } from './schema.js'

/* Outlets: other systems that get what devices publish. */

const outlet = object({
  name: string(),
  kind: string('Such as webhook'),
  target: string('Where it hands messages to, without path and login'),
  topics: array(string(), 'Topic filters of the messages that it gets'),
  exclude: array(string(), 'Topic filters of those among them that it does not get'),
  whenFull: words(['wait', 'skip'], 'What happens when it is too far behind'),
  state: words(['up', 'down', 'starting', 'paused'], '`starting`: it has had no message yet'),
  detail: optional(string('Why the target is down')),
  since: optional(number('Since when it is down')),
  retryAt: optional(number('Time of the next attempt')),
  failures: integer('Attempts that failed since it last worked'),
  bytesBehind: integer('Bytes of the spool from its place on'),
  oldest: optional(number('When the first of the messages in hand was received; left out while it has none')),
  balance: object(
    {
      received: integer('Messages that the hub has accepted since there is the outlet'),
      delivered: integer(),
      filtered: integer('Messages of topics that are not for it'),
      refused: integer('Messages that the target never takes: its dead letters, also those replayed or dropped since'),
      skipped: integer('Messages given up as it was too far behind (`whenFull: skip`)'),
      lost: integer('Messages that could not be read any more'),
      behind: integer('Messages that it has yet to pass'),
      residual: integer('Messages that are missing'),
      replayed: integer('Dead letters that were delivered after all; part of `refused`'),
      dropped: integer('Dead letters that were deleted; part of `refused`'),
    },
    '`received` is the sum of `delivered`, `filtered`, `refused`, `skipped`, `lost`, `behind` and `residual`, which should be 0',
  ),
  dead: object({
    letters: integer('Dead letters that wait: GET /api/dead with `outlet` lists them'),
    bytes: integer(),
    limit: integer(),
  }),
})

export const outletRoutes = {
  'GET /api/outlets': {
    summary: 'The outlets: other systems that get what devices publish, how they do, and what became of the messages',
    allow: 'everything',
    answer: object({ outlets: array(outlet) }),
  },
  'POST /api/outlets/pause': {
    summary: 'Pauses an outlet, or lets it go on; its messages wait in the spool meanwhile, also over a restart',
    allow: 'change',
    problems: { 404: 'There is no such outlet' },
    body: closed({ outlet: string('Name in the settings', { maxLength: 64 }), paused: boolean() }),
    answer: object({ paused: boolean() }),
  },
} as const
