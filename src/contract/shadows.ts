import { boolean, closed, integer, object, optional, type Schema, string, union } from './schema.js'

/** Any JSON object: its names and values are the device's. */
const state = { type: 'object', additionalProperties: true } as Schema<Readonly<Record<string, unknown>>>
const nothing = { type: 'null' } as Schema<null>

const thing = closed({ thing: string('Client id of the device, or its user name', { maxLength: 128 }) })
const name = optional(string('Name of a named shadow; without, the classic shadow', { maxLength: 64 }))

const problems = {
  403: 'No rule of the user allows the topic of the shadow',
  404: 'There is no such shadow',
}

const shadow = object({
  thing: string(),
  name: optional(string()),
  desired: optional(state),
  reported: optional(state),
  delta: optional({
    ...state,
    description: 'What is desired and not reported so; left out when there is no difference',
  }),
  metadata: { ...state, description: 'When each value was set: seconds since the epoch, as AWS IoT has it' },
  version: integer(),
  timestamp: integer('Seconds since the epoch'),
  named: optional({ type: 'array', items: { type: 'string' }, description: 'Named shadows of the thing' } as Schema<
    readonly string[]
  >),
})

const change = {
  summary: 'Sets what is desired of a device, and tells the device',
  description:
    'Objects are merged, null removes a value, arrays are replaced. Answers when that is on disk and on its way to the ' +
    'device, or in the queue of its session. As `update` of AWS IoT, which docs/shadows.md describes.',
  params: thing,
  body: closed({
    name,
    desired: union([state, nothing], 'What the device is to become; null removes all that is desired'),
    version: optional(integer('Refused with 409 unless the shadow has this version', { minimum: 0 })),
    clientToken: optional(string('Comes back in the messages about this change', { maxLength: 64 })),
  }),
  problems: {
    ...problems,
    409: 'The shadow has another version',
    413: 'The state would be larger than 8 KB',
    429: 'Too many shadows, or too many requests for this one',
  },
  answer: shadow,
} as const

/** The declarations of the routes of shadows. */
export const shadows = {
  'GET /api/shadows/:thing': {
    summary: 'Desired and reported state of a device, and the difference',
    params: thing,
    query: closed({ name }),
    problems,
    answer: shadow,
  },
  'POST /api/shadows/:thing': change,
  'PATCH /api/shadows/:thing': change,
  'DELETE /api/shadows/:thing': {
    summary: 'Deletes the shadow of a device',
    params: thing,
    query: closed({ name }),
    problems,
    answer: object({ deleted: boolean(), version: integer('Version of the document that was deleted') }),
  },
} as const
