import { array, closed, constant, number, object, string } from './schema.js'

/* Links that share one board read-only until a time. */

const link = object({
  id: string(),
  board: string('Id of the board'),
  by: string('User who made the link'),
  created: number(),
  expires: number('From then on the link shows nothing, also where a page is open'),
})

/** The declarations of the routes of links. */
export const shares = {
  'GET /api/shares': {
    summary: 'Links that share a board, the newest first',
    allow: 'change',
    answer: object({ shares: array(link) }),
  },
  'POST /api/shares': {
    summary: 'Makes a link that shares a board read-only until a time',
    description:
      'Whoever opens the link sees the devices and charts of that board, and nothing else, without a login. The address is in ' +
      'this answer only: the hub keeps a hash. At most 100 links, of at most 366 days. Where the hub has no login, links are not needed, and refused.',
    allow: 'change',
    body: closed({
      board: string(undefined, { maxLength: 200 }),
      expires: number('Milliseconds since the epoch'),
    }),
    problems: { 404: 'There is no such board', 409: 'There are as many links as there may be' },
    answer: object({ id: string(), path: string('Address on this hub: /share/…'), expires: number() }),
  },
  'POST /api/shares/end': {
    summary: 'Ends a link at once, also where a page is open',
    allow: 'change',
    body: closed({ id: string(undefined, { maxLength: 100 }) }),
    problems: { 404: 'There is no such link' },
    answer: object({ ended: constant(true) }),
  },
} as const
