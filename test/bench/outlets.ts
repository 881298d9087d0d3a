import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { fleet, notStored, perSecondText, type System, sample, underLoad } from './sustained.js'
import { hubLimits, startHub } from './targets.js'

/*
 * npm run bench -- outlets [--seconds 6]: what outlets cost the way from device to store, and what a frozen one costs the
 * others. All cases take turns, three rounds, each with a hub of its own that devices load as fast as they can. A rate is
 * what was received by the time until all of that was stored, or delivered.
 */

interface Case {
  readonly name: string
  readonly working: boolean
  readonly frozen: boolean
}

const cases: readonly Case[] = [
  { name: 'no outlet', working: false, frozen: false },
  { name: 'a frozen outlet', working: false, frozen: true },
  { name: 'a working outlet', working: true, frozen: false },
  { name: 'a working outlet beside a frozen one', working: true, frozen: true },
]

const rounds = 3

/** Least share of the rate that must be left beside a frozen outlet. */
const leastShare = 0.95

interface CaseFigures {
  readonly stored: number
  readonly delivered: number
}

/** Measures and prints the ratios. */
export async function outletsBench(seconds: number): Promise<void> {
  const figures = new Map<Case, CaseFigures[]>(cases.map(one => [one, []]))
  for (let round = 1; round <= rounds; round++) {
    for (const one of cases) {
      const measured = await measureCase(one, seconds)
      figures.get(one)?.push(measured)
      const delivered = one.working ? `, ${perSecondText(measured.delivered)} delivered` : ''
      process.stderr.write(`round ${round}, ${one.name}: ${perSecondText(measured.stored)} stored${delivered}\n`)
    }
  }
  const medianOf = (one: Case | undefined, figure: keyof CaseFigures) => {
    const all = (one && figures.get(one))?.map(measured => measured[figure]).sort((a, b) => a - b) ?? []
    return all[all.length >> 1] ?? 0
  }
  const [none, frozen, working, both] = cases
  const tell = (what: string, part: number, whole: number, least?: number) => {
    const share = part / whole
    const verdict = least === undefined ? '' : ` (at least ${least}: ${share >= least ? 'reached' : 'missed'})`
    process.stdout.write(`${what}: ${perSecondText(part)} of ${perSecondText(whole)}, ${share.toFixed(3)}${verdict}\n`)
  }
  tell('stored with a working outlet, of without', medianOf(working, 'stored'), medianOf(none, 'stored'))
  tell('stored with a frozen outlet, of without', medianOf(frozen, 'stored'), medianOf(none, 'stored'), leastShare)
  tell('stored with both, of with the working one', medianOf(both, 'stored'), medianOf(working, 'stored'), leastShare)
  tell(
    'delivered with both, of with the working one',
    medianOf(both, 'delivered'),
    medianOf(working, 'delivered'),
    leastShare,
  )
}

async function measureCase({ working, frozen }: Case, seconds: number): Promise<CaseFigures> {
  const receiver = working ? await startReceiver() : undefined
  const silent = frozen ? await startSilent() : undefined
  const outlets = [
    ...(receiver ? [{ name: 'working', kind: 'webhook', url: receiver.url, batch: 5_000, batchBytes: '8MB' }] : []),
    ...(silent ? [{ name: 'frozen', kind: 'webhook', url: silent.url, timeout: '5m' }] : []),
  ]
  const hub = await startHub([...hubLimits, '--outlets', JSON.stringify(outlets)])
  try {
    const system: System = { hub, backlogOf: notStored, pids: { hub: hub.pid } }
    const begin = performance.now()
    await underLoad(system, seconds, [{ kind: 'readings', port: hub.port, ...fleet, rate: 0 }])
    const { received } = await sample(hub)
    const rateWhen = async (isDone: () => boolean | Promise<boolean>) => {
      while (!(await isDone())) await sleep(20)
      return (received / (performance.now() - begin)) * 1_000
    }
    // Devices come first while they send: what counts is when all that they have sent is through.
    const [stored, delivered] = await Promise.all([
      rateWhen(async () => notStored(await sample(hub)) <= 0),
      receiver ? rateWhen(() => receiver.count() >= received) : 0,
    ])
    return { stored, delivered }
  } finally {
    await hub.stop()
    await receiver?.stop()
    silent?.server.closeAllConnections()
    silent?.server.close()
  }
}

/** A web server in a thread of its own, which only counts messages. */
async function startReceiver() {
  const counts = new Float64Array(new SharedArrayBuffer(8))
  const worker = new Worker(
    `const { createServer } = require('node:http')
    const { parentPort, workerData: counts } = require('node:worker_threads')
    const server = createServer((request, response) => {
      const id = String(request.headers['webhook-id'])
      request.resume().on('end', () => {
        counts[0] += Number(id.slice(id.lastIndexOf('-') + 1))
        response.writeHead(204).end()
      })
    })
    server.listen(0, '127.0.0.1', () => parentPort.postMessage(server.address().port))`,
    { eval: true, workerData: counts },
  )
  const port = await new Promise<number>(resolve => worker.once('message', resolve))
  return {
    url: `http://127.0.0.1:${port}/`,
    count: () => counts[0] ?? 0,
    stop: async () => void (await worker.terminate()),
  }
}

/** A web server that takes requests and never answers. */
async function startSilent(): Promise<{ readonly url: string; readonly server: Server }> {
  const server = createServer(() => {})
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, server }
}
