import { jobProgress, progressDescription } from './jobs.js'
import { array, closed, number, object, optional, type Schema, string, words } from './schema.js'

/* Rules of the hub for the past, too. Times are milliseconds. */

const instant = (description: string) => number(description, { minimum: 0, maximum: 253_402_300_800_000 })

/** The declarations of the routes that change the past. */
export const pastRoutes = {
  'POST /api/mapping/apply': {
    summary:
      'Replaces the rules that the hub keeps itself, and the readings that spool and archive can still make, all at once',
    description:
      `${progressDescription} Goes on in the hub when the caller leaves, and after a restart. Readings of the span that only ` +
      'the rules before make are removed (`dropped`); POST /api/mapping/apply/undo puts them back within a day. InfluxDB: ' +
      'the past is stored again by the new rules, and nothing is removed. With the header If-Match, refused with 412 unless ' +
      'the rules have that ETag.',
    allow: 'change',
    body: closed({
      rules: array({} as Schema, 'As in POST /api/mapping'),
      from: instant('When the message was received: included'),
      to: optional(instant('Not included; default: all that comes')),
      topic: optional(string('Topic filter; default: all topics')),
    }),
    problems: { 409: 'The past is being changed already', 412: 'Somebody else has changed the rules since' },
    answer: jobProgress,
    isStream: 'lines',
  },
  'POST /api/mapping/apply/undo': {
    summary: 'Takes the last POST /api/mapping/apply back: its rules, and the readings as they were',
    description: `${progressDescription} What came since is made anew by the rules before.`,
    allow: 'change',
    body: closed({}),
    problems: {
      404: 'There is nothing to take back, or it is more than a day ago',
      409: 'The past is being changed',
      412: 'The rules were changed since',
    },
    answer: jobProgress,
    isStream: 'lines',
  },
  'GET /api/mapping/past': {
    summary: 'The last POST /api/mapping/apply or its undo, and how far it is',
    allow: 'everything',
    answer: object({
      change: optional(
        object({
          id: string(),
          phase: words(['applying', 'done', 'undoing', 'undone', 'failed', 'final']),
          by: string('User; empty without a login'),
          at: number('When this phase began'),
          from: number(),
          to: optional(number()),
          topic: optional(string()),
          until: optional(number('It can be taken back until then')),
          error: optional(string('Why nothing has changed, or why the undo failed')),
        }),
      ),
      progress: jobProgress,
    }),
  },
} as const
