import { type ChildProcess, fork, spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { startMosquitto } from '../services/mosquitto.js'
import { type Load, runLoad } from './load.js'
import { type Results, type Row, readResults, resultsFile, resultsMarkdown } from './results.js'

/*
 * npm run bench [-- --seconds 10] [--only floor,mosquitto,telehub]: measures everything in one run on this machine and
 * writes test/bench/results.json. `--readme` prints the table of the last results and measures nothing.
 */

interface Target {
  readonly port: number
  stop(): Promise<void>
}

interface Candidate {
  readonly name: string
  readonly what: string
  start(): Promise<Target>
}

const root = fileURLToPath(new URL('../../..', import.meta.url))

const candidates: readonly Candidate[] = [
  { name: 'floor', what: 'Node parses and acknowledges, no broker', start: startFloor },
  { name: 'mosquitto', what: 'Mosquitto, memory only', start: startRival },
  { name: 'telehub', what: 'telehub, acknowledged after fdatasync', start: startHub },
]

async function startFloor(): Promise<Target> {
  const child = fork(fileURLToPath(new URL('floor.js', import.meta.url)))
  const port = await new Promise<number>((resolve, reject) => {
    child.once('message', message => resolve(Number(message)))
    child.once('exit', code => reject(new Error(`the floor ended with exit code ${code}`)))
  })
  return { port, stop: () => end(child) }
}

async function startRival(): Promise<Target> {
  const server = await startMosquitto()
  return { port: server.port, stop: () => server.stop() }
}

async function startHub(): Promise<Target> {
  // Not /tmp where that is memory: what is measured is a disk.
  const folder = mkdtempSync(join(process.env.BENCH_DIR ?? tmpdir(), 'telehub-bench-'))
  const args = ['start', '--mqtt.port', '0', '--http.port', '0', '--data.dir', folder, '--log.level', 'warn']
  const child = spawn(process.execPath, [join(root, 'dist/src/cli.js'), ...args], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const stop = async () => {
    await end(child)
    rmSync(folder, { recursive: true, force: true })
  }
  const ready = new Promise<number>((resolve, reject) => {
    createInterface({ input: child.stdout }).on('line', line => {
      const port = /^telehub ready .*mqtt:\/\/127\.0\.0\.1:(\d+)/.exec(line)?.[1]
      if (port) resolve(Number(port))
    })
    child.once('exit', code => reject(new Error(`telehub ended with exit code ${code} before it was ready`)))
  })
  try {
    return { port: await ready, stop }
  } catch (error) {
    await stop()
    throw error
  }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = new Promise(resolve => child.once('exit', resolve))
  child.kill('SIGTERM')
  const timer = setTimeout(() => child.kill('SIGKILL'), 15_000)
  await gone
  clearTimeout(timer)
}

async function measure(chosen: readonly Candidate[], load: Omit<Load, 'port'>): Promise<Row[]> {
  const rows: Row[] = []
  for (const { name, what, start } of chosen) {
    process.stderr.write(`${what} …\n`)
    const target = await start()
    try {
      const { acknowledged, seconds } = await runLoad({ ...load, port: target.port })
      rows.push({ name, what, acknowledgedPerSecond: Math.round(acknowledged / seconds) })
    } finally {
      await target.stop()
    }
  }
  const rival = rows.find(row => row.name === 'mosquitto')?.acknowledgedPerSecond
  return rival ? rows.map(row => ({ ...row, ratio: Number((row.acknowledgedPerSecond / rival).toFixed(2)) })) : rows
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      seconds: { type: 'string', default: '10' },
      only: { type: 'string' },
      readme: { type: 'boolean' },
    },
  })
  if (values.readme) return console.log(resultsMarkdown(readResults()))
  const names = values.only?.split(',')
  const unknown = names?.find(name => !candidates.some(candidate => candidate.name === name))
  const seconds = Number(values.seconds)
  if (unknown || !(seconds > 0)) {
    const all = candidates.map(candidate => candidate.name).join(', ')
    throw new Error(unknown ? `--only: given ${unknown}, allowed are ${all}` : '--seconds: allowed is a number above 0')
  }
  const load = { publishers: 100, window: 20, payloadBytes: 100, warmUpMs: 2_000, durationMs: seconds * 1_000 }
  const rows = await measure(
    candidates.filter(({ name }) => !names || names.includes(name)),
    load,
  )
  const machine = { cores: cpus().length, cpu: cpus()[0]?.model.trim() ?? 'unknown', node: process.versions.node }
  const results: Results = { date: new Date().toISOString(), machine, load, rows }
  // A part of the rows is for whoever is tuning, and no result to publish.
  if (!names) writeFileSync(resultsFile, `${JSON.stringify(results, undefined, 2)}\n`)
  console.log(resultsMarkdown(results))
}

main().catch((error: unknown) => {
  process.stderr.write(`bench: ${(error as Error).message}\n`)
  process.exitCode = 1
})
