import { join } from 'node:path'
import t from 'tap'
import { answerInfluxQl } from '../../src/influxql/influxql.js'
import { DuckDbStore } from '../../src/store/duckdb.js'
import { InfluxStore } from '../../src/store/influxdb.js'
import { begin, grafana, randomStatement, readings, written } from '../fixtures/influxql.js'
import { startInflux } from '../services/influxdb.js'
import { tempDir } from '../services/service.js'

/** The same readings in DuckDB and in a real InfluxDB: the same statements have the same answers. */

const influx = await startInflux()
t.teardown(() => influx.stop())
const store = new DuckDbStore({ path: join(await tempDir(), 'store.duckdb') })
await store.start()
t.teardown(() => store.stop())
const real = new InfluxStore({ url: `${influx.url}/telehub` })
t.teardown(() => real.stop())
for (const each of [store, real]) {
  const refused = await each.write(readings())
  if (refused.length > 0) throw new Error(JSON.stringify(refused))
}

interface Answer {
  readonly results?: readonly { readonly error?: string; readonly series?: readonly unknown[] }[]
  readonly error?: string
}

const now = begin + 3_600_000_000

async function ours(q: string, epoch?: string): Promise<Answer> {
  const { json } = await answerInfluxQl({ q, db: 'telehub', epoch }, { reader: store.reader, mayRead: undefined, now })
  return JSON.parse(json)
}

async function theirs(q: string, epoch?: string): Promise<Answer> {
  const query = new URLSearchParams({ q, db: 'telehub', ...(epoch && { epoch }) })
  return (await (await fetch(`${influx.url}/query?${query}`)).json()) as Answer
}

/** Rounds numbers: sums are not added in the same order. */
function rounded(value: unknown): unknown {
  if (typeof value === 'number') return Number(value.toFixed(8)) + 0
  if (Array.isArray(value)) return value.map(rounded)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, rounded(one)]))
}

for (const [what, statements] of Object.entries({ grafana, written })) {
  t.test(`statements: ${what}`, async t => {
    for (const q of statements) {
      const expected = await theirs(q, 'ms')
      t.notOk(expected.error ?? expected.results?.find(({ error }) => error)?.error, `InfluxDB answers ${q}`)
      const answer = await ours(q, 'ms')
      if (q === 'SHOW DATABASES') t.ok(JSON.stringify(expected).includes('telehub'))
      else t.same(rounded(answer), rounded(expected), q)
    }
  })
}

t.test('random statements', async t => {
  const seed = Number(process.env.TEST_SEED ?? Date.now() % 1_000_000)
  t.comment(`TEST_SEED=${seed}`)
  let state = seed
  const random = () => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648
    return state / 2_147_483_648
  }
  let rows = 0
  for (let i = 0; i < 250; i++) {
    const q = randomStatement(random)
    const expected = await theirs(q, 'ms')
    const answer = await ours(q, 'ms')
    rows += JSON.stringify(expected).length > 100 ? 1 : 0
    if (!t.same(rounded(answer), rounded(expected), q)) break
  }
  t.ok(rows > 125, `${rows} of the answers have rows`)
})

t.test('times in every unit, and as text', async t => {
  const q = 'SELECT first("total"), count("total") FROM power; SELECT total FROM power ORDER BY time DESC LIMIT 3'
  for (const epoch of [undefined, 'ns', 'n', 'u', 'ms', 's', 'm', 'h']) {
    const query = new URLSearchParams({ q, db: 'telehub', ...(epoch && { epoch }) })
    const text = await (await fetch(`${influx.url}/query?${query}`)).text()
    const { json } = await answerInfluxQl(
      { q, db: 'telehub', epoch },
      { reader: store.reader, mayRead: undefined, now },
    )
    // Nanoseconds are more than a number of JavaScript holds.
    t.equal(json, text, epoch ?? 'text')
  }
})

t.test('what is wrong with a statement is said where InfluxDB says it', async t => {
  for (const q of [
    'SELECT mean(temperature), humidity FROM climate',
    'SELECT temperature FROM climate GROUP BY time(1m)',
    'SELECT derivative(mean(temperature)) FROM climate',
    'SELECT nonsense(temperature) FROM climate',
    'SELECT mean(temperature, 2) FROM climate',
    'SELECT derivative(temperature, 1s, 2) FROM climate',
    'SELECT distinct(mode), count(mode) FROM status',
  ]) {
    const expected = await theirs(q)
    const answer = await ours(q)
    const errors = (of: Answer) => of.error ?? of.results?.map(({ error }) => error)
    t.same(errors(answer), [errors(expected)].flat(), q)
  }
  for (const q of [
    'SELECT',
    'SELECT FROM x',
    'SELECT a FROM',
    'SELECT a FROM b WHERE',
    'SHOW',
    'SHOW TAG',
    'SELECT a FROM b GROUP time',
  ]) {
    const [expected, answer] = [await theirs(q), await ours(q)]
    t.match(expected.error, /error parsing query/, q)
    t.match(answer.error, /error parsing query/, q)
  }
})
