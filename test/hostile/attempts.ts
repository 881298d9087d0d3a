import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Test } from 'tap'
import { type FieldValue, type SeriesId, seriesKey } from '../../src/model.js'
import { connectMqtt, eventually, type RunningHub } from '../harness.js'
import { tempDir } from '../services/service.js'
import { wasResponsive } from './witness.js'

/** Text that breaks whoever puts it between quotes, or on a line, and hopes for the best; each with what it tries. */
export const attempts: readonly (readonly [attempt: string, text: string])[] = [
  ['a second line of line protocol', 'a v=1 1\nevil,x=y v=9 9\n'],
  ['a second line behind CR LF', 'a\r\nevil v=1'],
  ['a line end alone', '\n'],
  ['a tag and a field', 'a,b=c d=1'],
  ['an equals sign at the end', 'a='],
  ['a comma at the end', 'a,'],
  ['a space at each end', ' a '],
  ['a backslash', 'a\\b'],
  ['a backslash at the end', 'a\\'],
  ['two backslashes at the end', 'a\\\\'],
  ['backslashes before what they escape', 'a\\,b\\=c\\ d\\"e\\\\'],
  ['a backslash before a line end', 'a\\\nevil v=1'],
  ['the form that control characters are stored in', 'a\\x0ab\\x5c'],
  ['a double quote', 'a" v="b'],
  ['a single quote', "a' v='b"],
  ['a comment of line protocol', '#comment'],
  ['a NUL', 'a\0b'],
  ['other control characters', '\u0001\u001b[31m\u007f\u0085\u009b2J'],
  ['line separators of Unicode', 'a\u2028b\u2029c'],
  ['text that turns around', 'a\u202eb\u2066c\u061cd'],
  ['a byte order mark', '\ufeffa\ufeff'],
  ['characters beyond 16 bits, and combining ones', '🌡️e\u0301\u{10ffff}'],
  ['a name that InfluxDB drops', 'time'],
  ['names of InfluxDB', '_field'],
  ['a very long name', 'x'.repeat(1_200)],
  ['InfluxQL: another statement', `'; DROP DATABASE "telehub"; --`],
  ['InfluxQL: another statement behind an identifier', `"; DROP SERIES FROM /.*/; --`],
  ['InfluxQL: always true', `" OR ""="`],
  ['InfluxQL: always true in a string', `' OR '1'='1`],
  ['InfluxQL: a regular expression', '/.*/'],
  ['InfluxQL: a wildcard', '*::field'],
  ['InfluxQL: a placeholder', '$time'],
  ['InfluxQL: a string that ends in a backslash', `\\'; DROP DATABASE "telehub" --`],
  ['SQL: another statement', `'; DROP TABLE series; DROP TABLE numbers; --`],
  ['SQL: another row', `a', '[]', 'f', 'number'), (7, 'evil', '[]', 'v', 'number`],
  ['SQL: a comment', 'a/*b*/--'],
  ['SQL: quotes of Unicode', '\u2018a\u2019 \u201cb\u201d \uff07c\uff07 \u02bcd'],
  ['SQL: a dollar quote and parameters', '$$a$$ $1 ? ?1 :a'],
  ['SQL: COPY', `'; COPY series TO '/tmp/telehub-hostile.csv'; --`],
  ['SQL: ATTACH', `'; ATTACH '/tmp/telehub-hostile.db' AS evil; --`],
  ['SQL: httpfs', `'; INSTALL httpfs; LOAD httpfs; SELECT * FROM 'http://127.0.0.1:9/x'; --`],
  ['SQL: a file as a table', `" JOIN read_csv('/etc/passwd') --`],
  ['a prototype', '__proto__'],
  ['a constructor', 'constructor'],
  ['the path to a prototype', 'constructor.prototype.x'],
  ['what every object has', 'toString'],
  ['what asks for what it has', 'hasOwnProperty'],
  ['a path', '../../../../etc/passwd'],
  ['a folder', '..'],
  ['an AMQP key of all', '*.#'],
  ['an AMQP escape', 'a%2Eb%2F%00%'],
  ['a device of Windows', 'CON'],
  ['a number', '1'],
  ['no number', 'NaN'],
  ['a format', '%s%n{}{{a}}\\{a}'],
  ['HTML', '<img src=x onerror=alert(1)><script>alert(1)</script>'],
]

/** Those that may stand in one level of a topic. */
export const levels = attempts.filter(([, text]) => !/[/+#\0]/.test(text))

interface Told {
  readonly key: string
  readonly measurement: string
  readonly tags: Readonly<Record<string, string>>
  readonly field: string
  readonly last: { readonly time: number; readonly value: FieldValue }
}

/** A reading that was sent, and so has to be there; milliseconds. */
export interface Sent {
  readonly attempt: string
  readonly topic: string
  readonly payload: string
  readonly series: SeriesId
  readonly value: FieldValue
  readonly time: number
}

const start = Date.parse('2026-01-01T00:00:00Z')

/** In the settings file for {@link readings}: a level becomes a measurement, others a tag; a field gets another name. */
export async function mappingFile(): Promise<string> {
  const path = join(await tempDir(), 'telehub.yaml')
  await writeFile(
    path,
    `mapping:
  - {topic: "home/{room}/{device}/telemetry", measurement: telemetry}
  - {topic: "as/{name}/{rest...}", measurement: "{name}", tags: [rest], units: {v: "<b>\\"'"}}
  - {topic: "renamed/#", measurement: renamed, fields: {a.b: "c d,e=\\"f\\"\\\\"}}
`,
  )
  return path
}

/** Each attempt in each place where text of devices becomes a name, a tag or a value. */
export function readings(): Sent[] {
  const sent: Sent[] = []
  const add = (attempt: string, topic: string, fields: object, series: SeriesId, value: FieldValue) => {
    const time = start + sent.length * 1_000
    sent.push({ attempt, topic, payload: JSON.stringify({ ...fields, ts: time }), series, value, time })
  }
  for (const [i, [attempt, text]] of levels.entries()) {
    const plain = `${text}/n${i}`
    const inPlain = { measurement: text, tags: [['topic', plain]], field: 'v' } as const
    // What begins with $ is the hub's own, and refused.
    if (!text.startsWith('$')) add(`${attempt}, as first level`, plain, { v: i }, inPlain, i)
    const tags = [
      ['device', 'd'],
      ['room', text],
    ] as const
    add(`${attempt}, as tag`, `home/${text}/d/telemetry`, { v: i }, { measurement: 'telemetry', tags, field: 'v' }, i)
    const inRule = { measurement: text, tags: [['rest', `${text}/${text}`]], field: 'v' } as const
    add(`${attempt}, in a rule`, `as/${text}/${text}/${text}`, { v: i }, inRule, i)
  }
  for (const [i, [attempt, text]] of attempts.entries()) {
    const named = { measurement: 'fields', tags: [['topic', 'fields']], field: text } as const
    // A field called time is the time, with a sign in front, too.
    if (text !== 'time' && text !== '$time')
      add(`${attempt}, as field`, 'fields', Object.fromEntries([[text, i]]), named, i)
    const valued = { measurement: 'values', tags: [['topic', `values/${i}`]], field: 'v' } as const
    // Blanks around a text are no part of it. Digits are a number, which InfluxDB keeps beside the texts, and NaN is none.
    const value = text.trim()
    if (['', '1', 'NaN'].includes(value)) continue
    add(`${attempt}, as value`, `values/${i}`, { v: text }, valued, value)
  }
  const empty = { measurement: 'telemetry', tags: [['device', 'd']], field: 'v' } as const
  add('an empty tag', 'home//d/telemetry', { v: 1 }, empty, 1)
  const nothing = { measurement: 'mqtt', tags: [['topic', '///']], field: 'v' } as const
  add('nothing but empty levels', '///', { v: 1 }, nothing, 1)
  const renamed = { measurement: 'renamed', tags: [], field: 'c d,e="f"\\' } as const
  add('a field that is renamed', 'renamed/x', { a: { b: 1 } }, renamed, 1)
  return sent
}

/** Publishes all; resolves when all are acknowledged. */
export async function publishAll(t: Test, hub: RunningHub, sent: readonly Sent[]): Promise<void> {
  const device = await connectMqtt(t, hub.mqttUrl)
  await Promise.all(sent.map(({ topic, payload }) => device.publishAsync(topic, payload, { qos: 1 })))
  await device.endAsync()
}

/** Exactly these readings are in the store, each once, at its time; and nothing is in the dead letters. */
export async function storedExactly(t: Test, hub: RunningHub, sent: readonly Sent[]): Promise<void> {
  const told = await eventually(async () => {
    const { series } = (await hub.get<{ series: Told[] }>('/api/series?limit=100000')).body
    return series.length >= sent.length && series
  }, `${sent.length} series`)
  t.same((await hub.get('/api/dead')).body, { dead: [] }, 'no dead letters')
  const found = new Map(told.map(one => [one.key, one]))
  for (const { attempt, series, value, time } of sent) {
    const key = seriesKey(series)
    const one = found.get(key)
    found.delete(key)
    t.strictSame(
      one && [one.measurement, Object.entries(one.tags), one.field, one.last],
      [series.measurement, series.tags, series.field, { time, value }],
      attempt,
    )
    const query = new URLSearchParams({ series: key, from: '0', to: '4102444800000' })
    t.same((await hub.get(`/api/history?${query}`)).body, { times: [time], values: [value] }, `${attempt}: read back`)
  }
  t.same([...found.keys()], [], 'nothing else')
}

/** After all of that, an honest device is served. */
export async function stillServes(t: Test, hub: RunningHub): Promise<void> {
  const device = await connectMqtt(t, hub.mqttUrl)
  const got = new Promise<string>(resolve => device.once('message', (_, payload) => resolve(payload.toString())))
  await device.subscribeAsync('honest')
  await device.publishAsync('honest', '{"v":42}', { qos: 1 })
  t.equal(await got, '{"v":42}', 'it delivers')
  const query = new URLSearchParams({ series: 'honest,topic=honest v' })
  const values = await eventually(async () => {
    const { body } = await hub.get<{ values: number[] }>(`/api/history?${query}`)
    return body.values?.length > 0 && body.values
  }, 'it stores')
  t.equal(values.at(-1), 42)
  t.equal((await hub.get('/healthz')).status, 200)
  await wasResponsive(t, hub)
}
