import {
  array,
  boolean,
  closed,
  integer,
  number,
  object,
  optional,
  record,
  type Schema,
  string,
  union,
  withDefault,
  words,
} from './schema.js'

/* How readings leave the hub in bulk, and come in. */

const instant = (description: string) => number(description, { minimum: 0, maximum: 253_402_300_800_000 })

const importAnswer = object({
  rows: integer('Rows so far: the sum of the next three'),
  stored: integer(),
  dead: integer('Refused'),
  ignored: integer('No readings, or thinned out by the rule'),
  next: integer('Number of the next batch'),
  position: string('Where the next batch begins, as given with the batch before'),
  finished: boolean(),
  mistakes: array(
    object({
      line: integer('Number of the line, as given with the row'),
      reason: string('A stable word'),
      detail: string(),
    }),
    'Refused rows of the last batch, at most 1,000',
  ),
})

const job = string('Name of the import, the same for the same file and rule', { minLength: 1, maxLength: 100 })

export const data = {
  'POST /api/sql': {
    summary: 'Answers a question in SQL about the embedded store',
    description:
      'One SELECT of `readings` (time, measurement, tags, field, type, number, boolean, text, us) and `series` (measurement, tags, ' +
      'field, type), in the SQL of DuckDB. It changes nothing and reads no files; 20 s, 512 MB of memory and 16 MB of answer are the limits.',
    allow: 'change',
    body: closed({
      sql: string(undefined, { maxLength: 20_000 }),
      limit: withDefault(integer('Most rows', { minimum: 1, maximum: 100_000 }), 1_000),
    }),
    answer: object({
      columns: array(object({ name: string(), type: string('In the words of DuckDB') })),
      rows: array(array({} as Schema), 'Values as JSON, in the order of the columns'),
      isWhole: boolean('False when there are more rows'),
    }),
  },
  'POST /api/imports': {
    summary: 'Begins an import of rows, or the rest of one: the answer says where to go on',
    description:
      'Rows go through the mapping, the types of fields and `limits.series`, and have an account of their own (`imported` in ' +
      '/api/balance). They are not shown live, and alerts do not see them.',
    allow: 'change',
    body: closed({
      job,
      file: string('Name for people', { maxLength: 500 }),
      rule: optional(record({} as Schema, 'Mapping rule, as in telehub.yaml')),
      dry: withDefault(boolean('Tries the rows, and stores nothing'), false),
      again: withDefault(boolean('Begins anew'), false),
    }),
    answer: importAnswer,
  },
  'POST /api/imports/:job': {
    summary:
      'Takes a batch of an import; answers when its rows are stored. A batch that is sent again is not stored twice',
    description:
      '`content` is JSON in a text: `{series: [[measurement, [[tag, value]], field]], s: [index in series], t: [microseconds], v: [value]}`, ' +
      'or `{topics, m: [index in topics], payloads: [text]}` for rows that the mapping reads; both with `n`, the line of each row, and ' +
      '`bad`, the number of lines that were no rows.',
    allow: 'change',
    params: object({ job }),
    body: closed({
      batch: integer('Number of the batch, from 1 on', { minimum: 1 }),
      position: string('Where the next batch begins: kept, and answered', { maxLength: 500 }),
      last: withDefault(boolean(), false),
      content: string(),
    }),
    problems: { 404: 'The import is to be begun again, as after a restart' },
    answer: importAnswer,
  },
  'GET /api/export': {
    summary: 'The stored readings of many series, as a stream',
    description:
      'Only series that the caller may read. `select` is in the words of alert rules: `{field: temperature, tags: {room: kitchen}}`, ' +
      'or `field=temperature tags.room=kitchen`. The answer is described for `jsonl`, a line for each reading; `csv` is ' +
      'text/csv, `line` is line protocol with times in nanoseconds, `parquet` a file of Apache Parquet. An answer that was ' +
      'not ended in order is not whole. Headers: `telehub-extent` has the first and the last time in milliseconds, ' +
      '`telehub-rows` and `telehub-bytes` the size of a Parquet file.',
    query: object({
      select: withDefault(string('Selection of series; default: all', { maxLength: 10_000 }), ''),
      measurement: optional(string('Of these only this one measurement')),
      from: optional(instant('Included; default: the first reading')),
      to: optional(instant('Not included; default: now')),
      format: withDefault(words(['csv', 'jsonl', 'line', 'parquet']), 'jsonl'),
    }),
    answer: object({
      time: string('RFC 3339 with microseconds, in UTC'),
      measurement: string(),
      tags: record(string()),
      field: string(),
      value: union([number(), boolean(), string()]),
    }),
    isStream: 'lines',
  },
} as const
