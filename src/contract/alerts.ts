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
  said,
  string,
  union,
  withDefault,
  words,
} from './schema.js'

/* Alerts: what the rules have found, the rules, mutes, and what a rule would have done. Times are milliseconds. */

const value = union([number(), boolean(), string()])
const severity = words(['info', 'warning', 'critical'])
const state = words(['pending', 'firing', 'acknowledged', 'cleared'])
const anyRule = { description: 'A rule as in the file, such as {"field": "temperature", "above": -15}' } as Schema

const alertRow = object({
  alert: string('Id of this alert, from its beginning to its end'),
  rule: string(),
  series: string('Key of the series, or id of the device; empty for conditions of the hub'),
  device: optional(string()),
  severity,
  state,
  since: number('When it began'),
  until: optional(number('When it was cleared')),
  sentence: string('The newest sentence'),
  said: optional(said),
  value: optional(value),
  by: optional(string('Who acknowledged it')),
  note: optional(string()),
  past: boolean('Whether it was over when the hub learned of it'),
  muted: boolean('Whether nobody is told: at the moment, or when it was over'),
  transitions: array(
    object({
      sequence: integer(),
      state,
      at: number(),
      decidedAt: number(),
      sentence: string(),
      said: optional(said),
      by: optional(string()),
    }),
  ),
  points: array(array(value), 'Readings that decided it: pairs of time and value'),
  definition: { description: 'The rule as it was' } as Schema,
})

const muteRow = object({
  id: string(),
  rule: optional(string()),
  series: optional(string()),
  device: optional(string()),
  by: string(),
  note: optional(string()),
  since: number(),
  until: optional(number('Left out: until it is taken back')),
})

const ruleRow = object({
  name: string(),
  severity,
  source: words(['file', 'api']),
  file: optional(string('File in which it is written')),
  line: optional(integer()),
  enabled: boolean('Whether it is evaluated'),
  watched: integer('Series or devices that it watches'),
  firing: integer(),
  definition: { description: 'The rule as given' } as Schema,
})

const backTest = object({
  rule: string(),
  from: number(),
  to: number(),
  series: integer('Series that were tested'),
  readings: integer('Readings that were evaluated'),
  incomplete: optional(string('Why something was not tested')),
  said: optional(said),
  count: integer('How often it would have fired'),
  total: number('For how long in all, in milliseconds'),
  longest: number('For how long at most, in milliseconds'),
  alerts: array(
    object({
      series: string(),
      device: optional(string()),
      from: number(),
      to: optional(number('Left out: it would still fire')),
      sentence: string(),
      said: optional(said),
    }),
    'The first ones',
  ),
})

const ruleCheck = object({
  mistakes: array(
    object({ path: array(string(), 'Names on the way to what is wrong; empty: the whole rule'), sentence: string() }),
  ),
  count: integer('Series or devices that the rule selects now'),
  selected: array(
    object({
      series: string('Key of the series, or id of the client'),
      label: string(),
      device: optional(string()),
      unit: optional(string()),
      type: optional(words(['number', 'boolean', 'text'])),
    }),
    'The first ones',
  ),
  incomplete: optional(constant(true, 'There are too many series to look at all')),
})

const ruleName = string('Name of the rule', { minLength: 1, maxLength: 100 })

/** The declarations of the routes of alerts. */
export const alertRoutes = {
  'GET /api/alerts': {
    summary: 'Alerts, the newest first, and the mutes in force',
    description:
      'A caller with rules sees the alerts whose topic `$hub/alerts/{rule}/{series}` it may read, and mutes of such a pair.',
    query: closed({
      state: withDefault(words(['open', 'all']), 'open'),
      rule: optional(string()),
      device: optional(string()),
      from: optional(number('Those that were not over before', { minimum: 0 })),
      to: optional(number('Those that had begun before', { minimum: 0 })),
      limit: withDefault(integer(undefined, { minimum: 1, maximum: 10_000 }), 1_000),
    }),
    answer: object({
      alerts: array(alertRow),
      count: integer('Alerts that fit, also those beyond the limit'),
      mutes: array(muteRow),
    }),
  },
  'POST /api/alerts/ack': {
    summary: 'Acknowledges an alert that is firing',
    description: 'Any caller that may read the alert may acknowledge it.',
    problems: { 404: 'There is no such alert, or it does not fire' },
    body: closed({ alert: string('Id from /api/alerts'), note: optional(string(undefined, { maxLength: 1_000 })) }),
    answer: object({ alert: string(), state, at: number(), by: string() }),
  },
  'POST /api/alerts/mute': {
    summary:
      'Mutes a rule, a series, a device, or what fits all that is given: alerts are recorded, and nobody is notified',
    allow: 'change',
    problems: { 404: 'There is no such rule' },
    body: closed({
      rule: optional(string()),
      series: optional(string()),
      device: optional(string()),
      until: optional(number('Left out: until it is taken back', { minimum: 0 })),
      note: optional(string(undefined, { maxLength: 1_000 })),
    }),
    answer: muteRow,
  },
  'POST /api/alerts/unmute': {
    summary: 'Takes a mute back',
    allow: 'change',
    problems: { 404: 'There is no such mute' },
    body: closed({ id: string() }),
    answer: muteRow,
  },
  'GET /api/alerts/rules': {
    summary: 'The rules in force, and the mistakes of the file',
    allow: 'everything',
    answer: object({
      rules: array(ruleRow),
      mistakes: array(string(), 'While there are any, the rules from before are in force'),
      counts: record(integer()),
    }),
  },
  'POST /api/alerts/rules': {
    summary: 'Adds a rule, or replaces one that came over the API',
    allow: 'change',
    problems: { 409: 'A rule of this name is in the file' },
    body: closed({ name: ruleName, rule: anyRule }),
    answer: ruleRow,
  },
  'DELETE /api/alerts/rules': {
    summary: 'Removes a rule that came over the API; its alerts are cleared',
    allow: 'change',
    problems: { 404: 'There is no such rule', 409: 'The rule is in the file' },
    query: closed({ name: ruleName }),
    answer: object({ removed: constant(true) }),
  },
  'POST /api/alerts/check': {
    summary: 'All mistakes of a rule, and what it would watch',
    description: 'Changes nothing. A rule with mistakes is answered with 200, too.',
    allow: 'everything',
    problems: { 429: 'Too many checks are under way' },
    body: closed({ name: optional(string(undefined, { maxLength: 200 })), rule: anyRule }),
    answer: ruleCheck,
  },
  'POST /api/alerts/test': {
    summary: 'When a rule would have fired, how often and for how long',
    description: 'The same evaluation as live, over the readings in the store. Changes nothing and notifies nobody.',
    allow: 'everything',
    problems: { 404: 'There is no such rule', 429: 'Too many tests are under way' },
    body: closed({
      rule: union([string('Name of a rule in force'), anyRule]),
      from: number('Included', { minimum: 0 }),
      to: optional(number('Not included; default: now', { minimum: 0 })),
    }),
    answer: backTest,
  },
} as const
