import { editHistory, editProblems, editRevision, ifMatch } from './edits.js'
import { mapped, rulePlace, shownMessage } from './explore.js'
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

/* Mapping rules: those that the hub keeps itself, and trying one. Times are milliseconds. */

/** Checked by the hub itself, which names all mistakes at once. */
const rule = record(
  {} as Schema,
  'As under `mapping` in telehub.yaml: topic, measurement, tags, fields, … (docs/devices.md)',
)

const answerMembers = {
  revision: editRevision,
  rules: array(
    object({ place: rulePlace, rule }),
    'In the order in which they are asked: the first that matches decides',
  ),
  file: string('Where the hub keeps its own rules'),
  ...editHistory('rules'),
}

const answer = object(answerMembers)

const conditions = ifMatch('rules')

const triedMessage = object({
  topic: string(),
  ...shownMessage,
  letter: optional(string('Id of the dead letter that the message is')),
  now: object(mapped, 'What the rules in force make of it'),
  tried: optional(object(mapped, 'What they would make of it with this rule; left out while the rule has mistakes')),
})

const matchedTopic = object({
  topic: string(),
  now: object(
    { rule: optional(string()), place: optional(rulePlace), preset: optional(string()) },
    'What decides today; empty: the default, first level and topic',
  ),
  taken: boolean('Whether this rule would decide'),
})

const mappingTally = object({
  messages: integer(),
  stored: integer(),
  ignored: integer('As they are no readings, or thinned out'),
  dead: integer(),
  partly: integer('Of those stored, with values that are refused'),
  points: integer(),
  reasons: record(integer(), 'Dead letters by reason'),
})

const value = optional(union([number(), boolean(), string()]))

const comparedSeries = array(
  object({
    series: string('Key of the series'),
    topic: string('Topic of a message that has it'),
    types: string('Type of the values, or `before → after`'),
    ...{ before: value, after: value },
  }),
  'Some of them, each with a sample',
)

/** The outcome of a comparison of mappings over the past. */
export const mappingDiff = object(
  {
    before: mappingTally,
    after: mappingTally,
    series: object({
      before: integer(),
      after: integer(),
      same: integer(),
      appear: integer(),
      vanish: integer(),
      retyped: integer('Of another type'),
    }),
    incomplete: optional(constant(true, 'There were so many series that not all were compared')),
    fates: array(
      object({ before: string(), after: string(), messages: integer(), topic: string('Topic of one of them') }),
      'Messages of which something else becomes, the most frequent first',
    ),
    ...{ appear: comparedSeries, vanish: comparedSeries, retyped: comparedSeries },
  },
  'How the new rules differ from those in force',
)

/** The declarations of the routes of mapping rules. */
export const mapping = {
  'GET /api/inbox': {
    summary: 'Topics that no rule and no preset knows, in groups of one shape, each with a proposed rule',
    description:
      'The busiest group first. To accept a group, add its `rule` to POST /api/mapping, and then replay the past and the dead ' +
      'letters of its `filter`.',
    allow: 'everything',
    query: closed({ limit: withDefault(integer(undefined, { minimum: 1, maximum: 200 }), 20) }),
    answer: object({
      topics: integer('Of all groups'),
      groups: array(
        object({
          filter: string('Matches the topics of the group'),
          topics: integer(),
          messages: integer('Since the hub started'),
          rate: number('Messages in a second'),
          last: optional(number('When the newest message came')),
          fates: object(
            { stored: integer('Under the name of the topic'), ignored: integer(), refused: integer() },
            'Topics by what became of their newest message',
          ),
          reasons: record(integer(), 'Topics by the reason why their newest message is a dead letter'),
          topic: string('One of them'),
          sample: optional(object(shownMessage, 'The newest message of it, as far as the spool still has it')),
          rule,
        }),
      ),
      more: integer('Groups that are not listed'),
      incomplete: optional(constant(true, 'There are more topics or groups than are looked at')),
    }),
  },
  'GET /api/noise': {
    summary: 'The series with the most points, and what rules that store less would leave of them',
    description:
      'Of the embedded store. `tried` says what is left of the points when only changes are stored, and with dead bands of a ' +
      'thousandth, a hundredth and a twentieth of the range of the values. POST /api/noise/fix writes the `rule`.',
    allow: 'everything',
    query: closed({
      hours: withDefault(integer('Up to now', { minimum: 1, maximum: 168 }), 24),
      series: optional(string('Key of a series: only this one', { maxLength: 65_535 })),
      limit: withDefault(integer(undefined, { minimum: 1, maximum: 50 }), 20),
    }),
    answer: object({
      from: number(),
      to: number(),
      series: integer('Series with points in this time'),
      points: number('Of all of them'),
      bytes: number('Before compression'),
      rows: array(
        object({
          series: string('Key of the series'),
          type: words(['number', 'boolean', 'text']),
          unit: optional(string()),
          points: number(),
          bytes: number(),
          readings: integer('The newest points, on which rules were tried'),
          tried: array(
            object({
              deadband: optional(number('Left out: what repeats is not stored, and nothing is lost')),
              points: number('What would be left of the points'),
              error: number('Largest difference between a value and the last one stored'),
            }),
            'The most exact one first. An unchanged value is stored once an hour all the same',
          ),
          rule: optional(record({} as Schema, 'Rule that is proposed; left out where it would save little')),
        }),
      ),
    }),
  },
  'POST /api/noise/fix': {
    summary: 'Writes rules of the hub that store less of some series, each joined with one that thins the same topic',
    description: `Answers when they are in force. ${conditions}`,
    allow: 'change',
    body: closed({
      series: array(string('Key of a series', { maxLength: 65_535 }), undefined, { minItems: 1, maxItems: 50 }),
      deadband: optional(
        number('Difference up to which a value counts as unchanged; default: what GET /api/noise proposes', {
          minimum: 0,
        }),
      ),
    }),
    problems: { ...editProblems, 404: 'Nothing of a series was stored in the last seven days' },
    answer: object({ ...answerMembers, written: array(rule, 'The rules of these series') }),
  },
  'GET /api/mapping': {
    summary: 'The mapping rules in their order: those that the hub keeps itself, and those of the settings',
    allow: 'everything',
    answer,
  },
  'POST /api/mapping': {
    summary: 'Replaces the rules that the hub keeps itself, all at once',
    description: `Answers when they are in force. A mistake changes nothing; all mistakes are named. ${conditions}`,
    allow: 'change',
    body: closed({ rules: array(rule) }),
    problems: editProblems,
    answer,
  },
  'POST /api/mapping/undo': {
    summary: 'Takes the last change of these rules back',
    description: conditions,
    allow: 'change',
    body: closed({}),
    problems: { ...editProblems, 404: 'There is nothing to undo' },
    answer,
  },
  'POST /api/mapping/check': {
    summary: 'What a rule would make of the last messages of a topic, and which topics it would take; stores nothing',
    description:
      'Messages are those that the spool still has, and dead letters of the topic. Without `rule`, the hub proposes one ' +
      'for the topic. The rule is asked first of all, or in the place of the one that it replaces.',
    allow: 'everything',
    body: closed({
      rule: optional(rule),
      topic: optional(string('Whose messages; default: the first topic that the rule matches', { maxLength: 65_535 })),
      replaces: optional(integer('Number of the rule of the hub that it replaces', { minimum: 1 })),
      limit: withDefault(integer(undefined, { minimum: 1, maximum: 50 }), 10),
    }),
    answer: object({
      rule,
      proposed: optional(constant(true)),
      mistakes: array(
        object({ key: optional(string('Member of the rule')), sentence: string(), said: optional(said) }),
        'While there are any, the rule takes no topic and would not be saved',
      ),
      topic: optional(string('Whose messages they are')),
      messages: array(triedMessage, 'The newest first'),
      fields: array(
        object({ name: string(), value: union([number(), boolean(), string()]), unit: optional(string()) }),
        'Fields of the payloads under their own names, with the newest value, whatever the rule keeps of them',
      ),
      isWhole: boolean('Whether no message of the topic is missing before the oldest'),
      matches: object({
        count: integer('Known topics that the filter of the rule matches'),
        incomplete: optional(constant(true, 'There are so many topics that not all were looked at')),
        topics: array(matchedTopic, 'Some of them'),
      }),
    }),
  },
} as const
