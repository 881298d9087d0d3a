import { type ChildProcess, fork } from 'node:child_process'
import { rmSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { tempDir } from '../services/service.js'
import { Connection } from './connection.js'
import type { ClientsJob, ProbeReport, ReconnectReport } from './session-clients.js'
import { hubLimits, processorSeconds, residentBytes, startObservedHub, type Target } from './targets.js'
import { publishPacket } from './wire.js'

/*
 * npm run bench -- sessions [--sessions 100000] [--retained 300000]: kept sessions of absent clients with two
 * subscriptions and ten messages each, and retained messages. What a client that behaves sees meanwhile, what they take
 * in memory, how long a start with them takes after kill -9, and how long 10,000 of them need to be back.
 */

export interface SessionsOptions {
  readonly sessions: number
  readonly retained: number
}

const messagesEach = 10
const returning = 10_000

export async function sessions({ sessions, retained }: SessionsOptions): Promise<void> {
  const folder = await tempDir()
  let hub = await startObservedHub(hubLimits, folder)
  try {
    let probe = await startProbe(hub.port)
    const phase = async (what: string, work: () => Promise<void>) => {
      await probe.report()
      const begin = performance.now()
      const cpu = processorSeconds(hub.pid)
      await work()
      const ms = performance.now() - begin
      const used = processorSeconds(hub.pid) - cpu
      const { worst, p99, count } = await probe.report()
      const memory = residentBytes(hub.pid)
      console.log(
        `${what.padEnd(46)} ${(ms / 1_000).toFixed(1)} s · round trip worst ${worst.toFixed(0)} ms, p99 ${p99.toFixed(1)} ms, ` +
          `${count} · RSS ${mb(memory.now)}, peak ${mb(memory.peak)} · ${used.toFixed(1)} s of processor time`,
      )
    }
    await phase('idle', () => sleep(3_000))
    const before = { resident: residentBytes(hub.pid).now, inUse: await hub.heap() }
    await phase(`${sessions} kept sessions`, () => keepSessions(hub.port, sessions))
    const { resident, inUse } = before
    const grown = residentBytes(hub.pid).now - resident
    const now = await hub.heap()
    const each = (bytes: number) => `${(bytes / sessions / 1_000).toFixed(2)} KB`
    console.log(
      `for each, once garbage is collected: ${each(now.broker - inUse.broker)} in the broker thread, ` +
        `${each(now.others - inUse.others)} in the others; with garbage, RSS grew by ${each(grown)}`,
    )
    await phase(`${retained} retained messages`, () =>
      publishAll(hub.port, retained, n => publish(`plant/${n % 1_000}/r/${n}`, n, true)),
    )
    await phase(`${messagesEach} messages for each session`, () =>
      publishAll(hub.port, sessions * messagesEach, n => publish(`kept/${n % sessions}/a`, n, false)),
    )
    await phase('afterwards', () => sleep(10_000))
    probe.stop()
    await hub.stop()
    const begin = performance.now()
    hub = await startObservedHub(hubLimits, folder)
    const readyMs = performance.now() - begin
    await publishAll(hub.port, 1, n => publish('first', n, false), 1)
    console.log(
      `start after kill -9: ready after ${seconds(readyMs)}, PUBACK after ${seconds(performance.now() - begin)}`,
    )
    console.log(`RSS ${mb(residentBytes(hub.pid).now)}, ${processorSeconds(hub.pid).toFixed(1)} s of processor time`)
    probe = await startProbe(hub.port)
    await phase(`${returning} clients are back at once`, async () => {
      const halves = [0, 1].map(half => {
        const clients = returning / 2
        return work<ReconnectReport>({
          kind: 'reconnect',
          port: hub.port,
          first: half * clients,
          clients,
          messages: messagesEach,
        })
      })
      for (const { connectedMs, deliveredMs, received, failed } of await Promise.all(halves)) {
        const tries = failed === 0 ? '' : `, after ${failed} connections that failed`
        console.log(
          `connected after ${seconds(connectedMs)}, ${received} messages after ${seconds(deliveredMs)}${tries}`,
        )
      }
    })
    probe.stop()
  } finally {
    await hub.stop()
    rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 })
  }
}

const seconds = (ms: number) => `${(ms / 1_000).toFixed(2)} s`
const mb = (bytes: number) => `${Math.round(bytes / 1e6)} MB`

const payload = Buffer.alloc(60, 'x')

function publish(topic: string, n: number, retain: boolean) {
  payload.write(String(n).padEnd(10))
  return (packetId: number) => publishPacket(topic, payload, 1, packetId, 4, retain)
}

/** Each connects, subscribes and leaves; some hundred at a time. */
async function keepSessions(port: number, count: number): Promise<void> {
  let next = 0
  const one = async () => {
    while (next < count) {
      const n = next++
      const connection = new Connection({
        port,
        clientId: `kept-${n}`,
        kept: true,
        localAddress: `127.0.${1 + (n % 200)}.1`,
        onPacket: () => {},
        onFailure: error => {
          throw error
        },
      })
      await connection.ready
      await connection.subscribe(1, [`kept/${n}/a`, `kept/${n}/b/#`], 1)
      connection.end(true)
    }
  }
  await Promise.all(Array.from({ length: 200 }, one))
}

/** Publishes with QoS 1 over some connections, until each is acknowledged. */
async function publishAll(
  port: number,
  count: number,
  packetOf: (n: number) => (packetId: number) => Buffer,
  connections = 20,
): Promise<void> {
  const window = 50
  let next = 0
  await Promise.all(
    Array.from({ length: connections }, async (_, c) => {
      await new Promise<void>((resolve, reject) => {
        let open = 0
        let packetId = 0
        const more = () => {
          while (open < window && next < count) {
            open++
            packetId = (packetId % 60_000) + 1
            connection.write(packetOf(next++)(packetId))
          }
          if (open === 0) {
            connection.end()
            resolve()
          }
        }
        const connection = new Connection({
          port,
          clientId: `publisher-${c}`,
          onPacket: (data, start) => {
            if ((data[start] as number) >> 4 === 4) open--
          },
          onChunk: () => {
            if (packetId > 0) more()
          },
          onFailure: reject,
        })
        connection.ready.then(more, reject)
      })
    }),
  )
}

function start(): ChildProcess {
  return fork(fileURLToPath(new URL('session-clients.js', import.meta.url)))
}

async function work<T>(job: ClientsJob): Promise<T> {
  const child = start()
  const report = answer<T>(child)
  child.send(job)
  try {
    return await report
  } finally {
    child.kill()
  }
}

async function startProbe(port: Target['port']) {
  const child = start()
  const ready = answer(child)
  child.send({ kind: 'probe', port } satisfies ClientsJob)
  await ready
  return {
    report: () => {
      const report = answer<ProbeReport>(child)
      child.send('report')
      return report
    },
    stop: () => child.kill(),
  }
}

function answer<T>(child: ChildProcess): Promise<T> {
  return new Promise((resolve, reject) => {
    const exited = () => reject(new Error('a process of clients ended'))
    child.once('exit', exited)
    child.once('message', message => {
      child.off('exit', exited)
      resolve(message as T)
    })
  })
}
