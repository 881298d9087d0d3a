import { join } from 'node:path'
import t from 'tap'
import { answerInfluxQl } from '../../src/influxql/influxql.js'
import { parseStatements } from '../../src/influxql/parser.js'
import { SyntaxFault } from '../../src/influxql/statement.js'
import type { SeriesId } from '../../src/model.js'
import { DuckDbStore } from '../../src/store/duckdb.js'
import { point } from '../contract/store.js'
import { begin, grafana, readings, written } from '../fixtures/influxql.js'
import { tempDir } from '../services/service.js'

const store = new DuckDbStore({ path: join(await tempDir(), 'store.duckdb') })
await store.start()
t.teardown(() => store.stop())
await store.write(readings())

async function ask(q: string, mayRead?: (series: SeriesId) => boolean) {
  const { status, json } = await answerInfluxQl(
    { q, db: 'telehub' },
    { reader: store.reader, mayRead, now: begin + 3_600_000_000 },
  )
  const answer = JSON.parse(json) as { error?: string; results?: { error?: string; series?: unknown[] }[] }
  return { status, json, error: answer.error ?? answer.results?.find(({ error }) => error)?.error, answer }
}

t.test('random statements are answered or refused, and nothing of what may not be read comes out', async t => {
  const seed = Number(process.env.TEST_SEED ?? Date.now() % 1_000_000)
  t.comment(`TEST_SEED=${seed}`)
  let state = seed
  const random = (below: number) => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648
    return Math.floor((state / 2_147_483_648) * below)
  }
  const statements = [...grafana, ...written].filter(q => !q.includes("'bath'"))
  const pieces = statements.flatMap(q => q.split(/(\s+|[(),;.=])/))
  const odd = [
    '/',
    '/(/',
    '"',
    "'",
    '\\',
    '((',
    '))',
    '::',
    ';;',
    '\0',
    '🌡️',
    '--',
    '/*',
    '$x',
    '$',
    '1e9',
    '99999999999999999999d',
    '-',
    'time',
    '*',
  ]
  const mayRead = ({ tags }: SeriesId) => !tags.some(([, value]) => value === 'bath')
  for (let i = 0; i < 1_500; i++) {
    const q = [...(statements[random(statements.length)] as string).split(/(\s+|[(),;.=])/)]
    for (let changes = 1 + random(4); changes > 0; changes--) {
      const at = random(q.length)
      const piece = random(3) === 0 ? odd[random(odd.length)] : pieces[random(pieces.length)]
      q.splice(at, random(3), piece as string)
    }
    const text = q.join('')
    try {
      // Statements whose parse is whole are few enough to be asked.
      parseStatements(text, 0n)
    } catch (error) {
      if (!(error instanceof SyntaxFault)) t.fail(`${JSON.stringify(text)}: ${error}`)
      continue
    }
    const { json } = await ask(text, mayRead)
    if (/"(bath|t2|t3)"/.test(json)) t.fail(`${text}: ${json}`)
  }
  t.match((await ask('SHOW TAG VALUES WITH KEY = room')).json, /bath/, 'it is there for others')
})

t.test('statements that would need too much are refused with the reason', async t => {
  const deep = (text: string, times: number) => '('.repeat(times) + text + ')'.repeat(times)
  for (const [q, error] of [
    [`SELECT ${deep('mean(v)', 60)} FROM m`, /parentheses/],
    [`SELECT ${deep('mean(v)', 20_000)} FROM m`, /parentheses/],
    [`SELECT mean(v) FROM m WHERE ${deep("a = 'b'", 10_000)}`, /parentheses/],
    [`SELECT mean(v) FROM m WHERE time > ${'-'.repeat(30_000).replaceAll('-', '- ')}1s`, /error parsing query/],
    [`SELECT ${'-'.repeat(1_000).replaceAll('-', '- ')}v FROM m`, /operands|parentheses/],
    [`SELECT ${'v + '.repeat(5_000)}v FROM m`, /operands/],
    [`SELECT ${'v, '.repeat(5_000)}v FROM m`, /listed/],
    [`SELECT mean(v) FROM m WHERE ${"a = 'b' OR ".repeat(3_000)}a = 'b'`, /listed/],
    ['SHOW DATABASES;'.repeat(200), /statements/],
    ['x'.repeat(70_000), /longer than/],
    ['SELECT mean(temperature) FROM climate WHERE time > 0 GROUP BY time(1u)', /more than 200000 values/],
    ['SELECT mean(temperature) FROM climate WHERE time > 0 GROUP BY time(1ns)', /below a microsecond/],
    ['SELECT mean(temperature) FROM climate GROUP BY time(0s)', /above 0/],
    ['SELECT moving_average(mean(total), 99999999) FROM power WHERE time > 0 GROUP BY time(1d)', /moving_average/],
    [`SELECT mean(temperature) FROM climate WHERE room =~ /${'(a{1000}){1000}'}/`, /regular expression/],
    ['SELECT mean(temperature) FROM climate WHERE room =~ /(/', /regular expression/],
    ['SELECT mean(temperature) FROM climate WHERE room =~ /(?<=a)b/', /regular expression/],
    ['SELECT mean(temperature) FROM climate WHERE temperature > 5', /conditions on values of fields/],
    [`SELECT mean(temperature) FROM climate WHERE humidity = 'x'`, /humidity is a field/],
    [`SELECT mean(temperature) FROM climate WHERE time > now() OR room = 'bath'`, /time below OR/],
    ['SELECT mean(a) FROM (SELECT b FROM c)', /subqueries/],
    ['SELECT v INTO x FROM y', /INTO/],
    ['DROP DATABASE telehub', /SELECT or SHOW/],
    ['SELECT mean(mode) FROM status', /unsupported mean.*text/],
    ["SELECT mean(v) FROM m WHERE time > '1-1-1'", /a time/],
    ['SELECT mean(v) FROM m WHERE time > 999999999999999999999999', /out of range/],
    [`SELECT mean(v) FROM m tz('Europe/Berlin')`, /time zones/],
  ] as const) {
    const found = await ask(q)
    t.match(found.error, error, q.slice(0, 100))
  }
})

t.test('a regular expression that is slow elsewhere takes linear time', async t => {
  await store.write([point('long', [['text', `${'a'.repeat(50_000)}!`]], [['v', 1]], begin)])
  const { answer } = await ask('SELECT last(v) FROM long WHERE text =~ /^(a+)+$/')
  t.same(answer, { results: [{ statement_id: 0 }] })
})

t.test('names of SQL and of JavaScript are names', async t => {
  for (const name of ["'; DROP TABLE series; --", '__proto__', 'constructor', 'a"b', '$1', 'naïve 温度']) {
    await store.write([point(name, [[name, name]], [[name, 7]], begin)])
    const quoted = `"${name.replaceAll('"', '\\"')}"`
    const { answer, error } = await ask(
      `SELECT last(${quoted}) FROM ${quoted} WHERE ${quoted}::tag = '${name.replaceAll("'", "\\'")}' GROUP BY ${quoted}`,
    )
    t.equal(error, undefined, name)
    t.match(answer.results?.[0]?.series, [{ name, values: [[/./, 7]] }], name)
  }
})
