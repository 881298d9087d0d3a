import { createWriteStream, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { DuckDBInstance } from '@duckdb/node-api'
import { type RowFormat, rowFormat, textFormats } from '../../src/export/formats.js'
import type { Point } from '../../src/model.js'
import { DuckDbStore } from '../../src/store/duckdb.js'
import { makeRecorder, type RecorderState } from '../fixtures/recorder.js'
import { asAdmin, runCli, startHub } from '../harness.js'
import { tempDir } from '../services/service.js'

/*
 * How fast readings leave the hub in bulk and come in: rows of the embedded store to Parquet and to the texts, without
 * HTTP; and the whole way of an import, from a file by the command into a hub.
 */

const rows = 4_000_000
const series = 1_000
const importRows = 1_000_000
const begin = 1_760_000_000_000_000

export async function data(): Promise<void> {
  const dir = await tempDir()
  await fill(join(dir, 'store.duckdb'))
  const store = new DuckDbStore({ path: join(dir, 'store.duckdb') })
  await store.start()
  const everything = { from: 0, to: 2e15, chosen: { includes: () => true } }
  const path = join(dir, 'all.parquet')
  const parquet = await timed(() => store.rows.parquet(everything, path, new AbortController().signal))
  told('export to Parquet', rows, parquet, 1_000_000, `, ${(statSync(path).size / rows).toFixed(1)} bytes a row`)
  for (const format of textFormats) {
    const seconds = await timed(() => texts(store, rowFormat(format)))
    told(`export to ${format}`, rows, seconds)
  }
  await store.stop()
  await importing(dir)
  rmSync(dir, { recursive: true })

  async function texts(from: DuckDbStore, format: RowFormat): Promise<void> {
    const reading = await from.rows.open(everything)
    for (let chunk = await reading.next(); chunk; chunk = await reading.next())
      Buffer.from(format.lines(chunk, reading.series))
  }
}

/** Makes the rows by DuckDB itself, in the tables that the store has made. */
async function fill(path: string): Promise<void> {
  const store = new DuckDbStore({ path })
  await store.start()
  for (let at = 0; at < series; at += 500) {
    const points = Array.from({ length: 500 }, (_, i): Point => {
      const tags = [['device', `d${at + i}`]] as const
      return { measurement: 'climate', tags, fields: [['temperature', 0.5]], time: begin - 1 }
    })
    await store.write(points)
  }
  await store.stop()
  const instance = await DuckDBInstance.create(path)
  const connection = await instance.connect()
  await connection.run(
    `INSERT INTO numbers SELECT 1 + range % ${series}, ${begin} + (range // ${series}) * 1000000, round(random() * 4000) / 100 FROM range(${rows - series})`,
  )
  connection.closeSync()
  instance.closeSync()
}

/** Imports the same rows in each format, each into a hub of its own. */
async function importing(dir: string): Promise<void> {
  const line = join(dir, 'import.lp')
  const out = createWriteStream(line)
  for (let i = 0; i < importRows; i++)
    if (!out.write(`climate,device=d${i % series} temperature=${(i % 4_000) / 100} ${begin + i * 1_000}000\n`))
      await new Promise<void>(resolve => out.once('drain', () => resolve()))
  await new Promise<void>(resolve => out.end(() => resolve()))
  const recorder = join(dir, 'home-assistant_v2.db')
  makeRecorder(recorder, {
    states: Array.from(
      { length: importRows },
      (_, i): RecorderState => [
        `sensor.room_${i % series}_temperature`,
        String((i % 4_000) / 100),
        'temperature',
        begin / 1e6 + i,
      ],
    ),
  })
  for (const format of ['line', 'csv', 'jsonl', 'parquet', 'recorder']) {
    const ends: (() => unknown)[] = []
    const hub = await startHub({ teardown: end => void ends.push(end) })
    const command = async (args: readonly string[]) => {
      const key = asAdmin(hub.dir).authorization.slice(7)
      const cli = runCli([...args, '--url', hub.httpUrl, '--key', key], {}, dir)
      if ((await cli.exited) !== 0) throw new Error(cli.stderr())
    }
    const file = format === 'line' ? line : format === 'recorder' ? recorder : join(dir, `import.${format}`)
    const seconds = await timed(() => command(['import', file]))
    told(`import of ${format}, command to store`, importRows, seconds, 100_000)
    if (format === 'line')
      for (const other of ['csv', 'jsonl', 'parquet']) await command(['export', '--out', join(dir, `import.${other}`)])
    for (const end of ends) await end()
  }
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const began = performance.now()
  await work()
  return (performance.now() - began) / 1_000
}

function told(what: string, count: number, seconds: number, least?: number, more = ''): void {
  const rate = count / seconds
  const verdict =
    least === undefined ? '' : ` (at least ${least.toLocaleString('en')}: ${rate >= least ? 'reached' : 'missed'})`
  process.stdout.write(`${what}: ${Math.round(rate).toLocaleString('en')} rows/s${verdict}${more}\n`)
}
