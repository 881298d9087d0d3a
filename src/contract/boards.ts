import { editHistory, editProblems, editRevision, ifMatch } from './edits.js'
import {
  array,
  boolean,
  closed,
  constant,
  integer,
  number,
  object,
  optional,
  record,
  type Schema,
  string,
  words,
} from './schema.js'

/* The changes that people make to the screen: names, areas, order, which values are shown and how; and boards. */

const short = (description?: string) => string(description, { maxLength: 200 })
const ids = (most: number, description?: string) =>
  array(string(undefined, { maxLength: 1_000 }), description, { maxItems: most })

const thresholds = closed({
  low: optional(number()),
  high: optional(number()),
  veryLow: optional(number()),
  veryHigh: optional(number()),
})

const valueParts = {
  name: short(),
  unit: string(undefined, { maxLength: 40 }),
  decimals: integer(undefined, { minimum: 0, maximum: 12 }),
  hidden: boolean(),
  icon: short(),
  thresholds,
} as const

const deviceParts = {
  name: short(),
  area: short('Empty: in no area'),
  order: number('Place within its area, the smallest first'),
  hidden: boolean(),
  icon: short(),
  main: ids(8, 'Values that are shown large, in their order: `topic#field`'),
} as const

const boardParts = {
  name: short(),
  density: words(['cards', 'list', 'heat']),
  areas: ids(500),
  devices: ids(5_000, 'Ids of devices'),
  series: ids(500, 'Keys as in /api/history'),
} as const

/** Any of the members, and no others. */
function some(parts: Readonly<Record<string, Schema>>): Schema {
  return closed(Object.fromEntries(Object.entries(parts).map(([name, schema]) => [name, optional(schema)])))
}

/** The file in the data directory. */
export const boardsFile = closed({
  revision: optional(integer(undefined, { minimum: 0 })),
  areas: optional(ids(1_000, 'In the order in which they are shown; others follow by name')),
  devices: optional(
    record(some({ ...deviceParts, values: record(some(valueParts), 'By `topic#field`') }), 'By id, as in /api/home'),
  ),
  boards: optional(record(some(boardParts), 'By an id that the page chooses')),
  favourites: optional(record(ids(1_000), 'Ids of devices by user')),
})

interface ValueEdit {
  readonly name?: string
  readonly unit?: string
  readonly decimals?: number
  readonly hidden?: boolean
  readonly icon?: string
  readonly thresholds?: {
    readonly low?: number
    readonly high?: number
    readonly veryLow?: number
    readonly veryHigh?: number
  }
}

interface DeviceEdit {
  readonly name?: string
  readonly area?: string
  readonly order?: number
  readonly hidden?: boolean
  readonly icon?: string
  readonly main?: readonly string[]
  readonly values?: Readonly<Record<string, ValueEdit>>
}

interface Board {
  readonly name?: string
  readonly density?: 'cards' | 'list' | 'heat'
  readonly areas?: readonly string[]
  readonly devices?: readonly string[]
  readonly series?: readonly string[]
}

/** Edits as they are stored. */
export interface BoardEdits {
  readonly areas?: readonly string[]
  readonly devices?: Readonly<Record<string, DeviceEdit>>
  readonly boards?: Readonly<Record<string, Board>>
  readonly favourites?: Readonly<Record<string, readonly string[]>>
}

/** Checked as a whole once it is merged, as null is allowed everywhere. */
const patch = {
  areas: optional({ description: 'Names, in the order in which they are shown' } as Schema<readonly string[] | null>),
  devices: optional({
    description:
      'By id: name, area, order, hidden, icon, main (list of `topic#field`), values (by `topic#field`: name, unit, decimals, ' +
      'hidden, icon, thresholds with low, high, veryLow, veryHigh)',
  } as Schema<Readonly<Record<string, unknown>> | null>),
  boards: optional({
    description: 'By id: name, density (cards, list, heat), areas, devices, series',
  } as Schema<Readonly<Record<string, unknown>> | null>),
}

const answer = object({
  revision: editRevision,
  areas: array(string()),
  devices: { ...record({} as Schema), description: 'Edits by id; those that the caller may see' } as Schema<
    Readonly<Record<string, DeviceEdit>>
  >,
  boards: record({} as Schema) as Schema<Readonly<Record<string, Board>>>,
  favourites: array(string(), 'Ids of devices that the caller has chosen'),
  ...editHistory('edits'),
})

const conditions = ifMatch('edits')

/** The declarations of the routes of boards. */
export const boards = {
  'GET /api/boards': {
    summary: 'Edits of the screen, boards, and the favourites of the caller',
    description: 'The edits are in /api/home already. The header ETag is `revision`.',
    answer,
  },
  'PATCH /api/boards': {
    summary: 'Changes edits and boards: members are merged, null removes one',
    description: conditions,
    allow: 'change',
    body: closed(patch, { minProperties: 1 }),
    problems: editProblems,
    answer,
  },
  'POST /api/boards/undo': {
    summary: 'Takes the last change back',
    description: conditions,
    allow: 'change',
    body: closed({}),
    problems: { ...editProblems, 404: 'There is nothing to undo' },
    answer,
  },
  'POST /api/boards/favourites': {
    summary: 'Sets the favourites of the caller',
    body: closed({ devices: ids(1_000, 'Ids of devices, in their order') }),
    problems: { 409: editProblems[409] },
    answer: object({ changed: constant(true) }),
  },
} as const
