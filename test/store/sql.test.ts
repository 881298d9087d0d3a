import { existsSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { DuckDbStore } from '../../src/store/duckdb.js'
import { noon, point } from '../contract/store.js'
import { tempDir } from '../services/service.js'

const dir = await tempDir()
const store = new DuckDbStore({ path: join(dir, 'store.duckdb') })
await store.start()
t.teardown(() => store.stop())
await store.write([
  point(
    'home',
    [['room', 'bath']],
    [
      ['on', true],
      ['temperature', 21.5],
      ['text', '=x"\n'],
    ],
    noon,
  ),
  point('home', [['room', 'kitchen']], [['temperature', 19]], noon + 1),
])
const ask = (sql: string, limit = 1_000) => store.sql.ask({ sql, limit })

t.test('readings and series, with typed columns', async t => {
  const { columns, rows, isWhole } = await ask('SELECT * FROM readings ORDER BY us, field')
  t.same(
    columns.map(({ name }) => name),
    ['time', 'measurement', 'tags', 'field', 'type', 'number', 'boolean', 'text', 'us'],
  )
  t.equal(isWhole, true)
  t.same(
    rows.map(row => row.slice(3)),
    [
      ['on', 'boolean', null, true, null, noon],
      ['temperature', 'number', 21.5, null, null, noon],
      ['text', 'text', null, null, '=x"\n', noon],
      ['temperature', 'number', 19, null, null, noon + 1],
    ],
  )
  t.same((await ask("SELECT tags['room'] AS room FROM series WHERE field = 'temperature' ORDER BY room")).rows, [
    ['bath'],
    ['kitchen'],
  ])
  t.same(await ask('FROM range(10)', 3).then(({ rows, isWhole }) => [rows, isWhole]), [[[0], [1], [2]], false])
})

t.test('what people ask', async t => {
  for (const sql of [
    'WITH hot AS (FROM readings WHERE number > 20) SELECT count(*) FROM hot',
    'DESCRIBE readings',
    'EXPLAIN SELECT max(number) FROM readings',
    'SELECT time_bucket(INTERVAL 1 HOUR, time) AS h, avg(number), quantile_cont(number, 0.9) FROM readings GROUP BY h',
    'SELECT field, number, row_number() OVER (PARTITION BY field ORDER BY us) AS n FROM readings QUALIFY n = 1',
    'SELECT x FROM unnest([1, 2]) u(x) UNION ALL SELECT 3',
    "SELECT regexp_extract(text, '(.)', 1), lower(measurement), date_trunc('day', time) FROM readings",
    'VALUES (1), (2)',
  ])
    await t.resolves(ask(sql), sql)
})

const file = join(dir, 'out')
const attempts = [
  `COPY (SELECT 1) TO '${file}'`,
  `COPY readings TO '${file}' (FORMAT parquet)`,
  "SELECT * FROM read_csv('/etc/passwd')",
  "SELECT * FROM read_text('/etc/passwd')",
  "SELECT * FROM read_blob('/etc/passwd')",
  "SELECT * FROM '/etc/passwd.csv'",
  "FROM 'https://127.0.0.1/x.parquet'",
  "DESCRIBE '/etc/passwd.csv'",
  "SUMMARIZE '/etc/passwd.csv'",
  "SELECT * FROM glob('/etc/*')",
  "SELECT * FROM sniff_csv('/etc/passwd')",
  "SELECT * FROM parquet_schema('/etc/passwd')",
  `ATTACH '${file}'`,
  'DETACH store',
  'PRAGMA database_list',
  'PRAGMA enable_profiling',
  "SET memory_limit = '100GB'",
  'RESET threads',
  'INSTALL httpfs',
  "LOAD '/tmp/x.duckdb_extension'",
  'CALL pragma_version()',
  'CHECKPOINT',
  'SELECT * FROM checkpoint()',
  'SELECT * FROM force_checkpoint()',
  "SELECT * FROM enable_logging(storage = 'file')",
  "SELECT write_log('x')",
  "SELECT getenv('HOME')",
  "SELECT current_setting('temp_directory')",
  'SELECT * FROM duckdb_settings()',
  'SELECT * FROM duckdb_secrets()',
  'SELECT 1; SELECT 2',
  'EXPLAIN SELECT 1; DROP TABLE numbers',
  'EXPLAIN ANALYZE DELETE FROM numbers',
  'DELETE FROM numbers',
  'INSERT INTO numbers VALUES (1, 2, 3)',
  'UPDATE progress SET sequence = 0',
  'DROP TABLE numbers',
  'CREATE TABLE x AS SELECT 1',
  'CREATE TEMP MACRO f() AS 1',
  'ALTER TABLE numbers ADD COLUMN x INTEGER',
  'WITH gone AS (DELETE FROM numbers RETURNING *) FROM gone',
  'BEGIN',
  'COMMIT',
  'PREPARE p AS SELECT 1',
  'EXECUTE p',
  "SELECT * FROM query('DROP TABLE numbers')",
  "SELECT * FROM query_table('numbers')",
  `SELECT * FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))`,
  'WITH RECURSIVE bomb AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM bomb) SELECT count(*) FROM bomb',
  "SELECT length(repeat('x', 4000000000))",
  "SELECT length(lpad('x', 2000000000, 'y'))",
  'SELECT len(range(10000000000))',
  'SELECT sleep_ms(100000)',
  "SELECT nextval('s')",
  'SELECT $1',
  'SELECT * FROM numbers',
  'SELECT * FROM main.series',
  'SELECT * FROM information_schema.tables',
  'SELECT * FROM sqlite_master',
  "EXPORT DATABASE '/tmp/x'",
  'VACUUM',
  'not SQL at all',
  '',
]

t.test('nothing else is answered, and nothing has changed', async t => {
  for (const sql of attempts) await t.rejects(ask(sql), { code: 'bad_request' }, sql.slice(0, 80))
  t.notOk(existsSync(file))
  t.same((await ask('SELECT count(*) FROM readings')).rows, [[4]])
  t.same(await store.write([point('home', [], [['after', 1]], noon)]), [], 'the store writes')
})

t.test('a question that is too large ends, and the store goes on meanwhile', async t => {
  const huge = ask('SELECT count(*), sum(a.range * b.range) FROM range(1000000000) a, range(1000000000) b')
  await store.write([point('home', [], [['meanwhile', 1]], noon)])
  const { times } = await store.history({
    series: { measurement: 'home', tags: [], field: 'meanwhile' },
    from: 0,
    to: 2e15,
    points: 1,
    fn: 'last',
  })
  t.equal(times.length, 1)
  await t.rejects(huge, { code: 'too_large', message: /longer than 20 s|memory/ })
  await t.rejects(ask('SELECT list(range) FROM range(1000000000)'), { code: /too_large|bad_request/ })
  await t.rejects(ask("SELECT string_agg(range::VARCHAR, 'xxxxxxxxxxxxxxxxxxxx') FROM range(1000000000)"), {
    code: /too_large|bad_request/,
  })
  t.same((await ask('SELECT 1')).rows, [[1]])
})
