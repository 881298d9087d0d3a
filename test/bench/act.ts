import { setTimeout as sleep } from 'node:timers/promises'
import mqtt from 'mqtt'
import { alertRules } from './alert-rules.js'
import { alertTurns } from './alert-turns.js'
import { syncTimes } from './disk.js'
import { startHub } from './targets.js'

/*
 * npm run bench -- act: a command's round trip hub → device → hub, when the hub is idle. The time is that of the request
 * over HTTP, until the answer of the device is recognised and on disk: that takes two or three syncs of the disk, one after
 * the other, so one sync is measured beside, and one request that does next to nothing. And what alert rules cost the
 * live path (alert-rules.ts), and how long its turns are when very many alerts are due at once (alert-turns.ts).
 */

const rounds = 1_000
const targetMs = 20

export async function act(): Promise<void> {
  await alertRules()
  await alertTurns()
  const hub = await startHub()
  try {
    const url = `mqtt://127.0.0.1:${hub.port}`
    const five = await mqtt.connectAsync(url, { clientId: 'five', protocolVersion: 5 })
    five.on('message', (_topic, payload, { properties }) => {
      five.publish(properties?.responseTopic ?? '', payload, { qos: 1 })
    })
    await five.subscribeAsync('five/do', { qos: 1 })
    const plug = await mqtt.connectAsync(url, { clientId: 'plug' })
    plug.on('message', (_topic, payload) => {
      plug.publish('stat/plug/RESULT', JSON.stringify({ POWER: payload.toString() }), { qos: 1 })
    })
    await plug.subscribeAsync('cmnd/plug/#', { qos: 1 })
    const http = `http://127.0.0.1:${hub.webSocketPort}`
    await measure(http, 'MQTT 5, response topic', 'five/do')
    await measure(http, 'MQTT 3.1.1, Tasmota', 'cmnd/plug/POWER')
    await requests(http)
    await Promise.all([five.endAsync(true), plug.endAsync(true)])
    await syncs()
  } finally {
    await hub.stop()
  }
}

async function measure(http: string, what: string, topic: string): Promise<void> {
  const times: number[] = []
  for (let n = 0; n < rounds; n++) {
    const begin = performance.now()
    const response = await fetch(`${http}/api/commands`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ topic, payload: n % 2 === 0 ? 'ON' : 'OFF', wait: 10 }),
    })
    const { state } = (await response.json()) as { state?: string }
    if (state !== 'answered') throw new Error(`${what}: the command is ${state ?? response.status}`)
    if (n >= rounds / 10) times.push(performance.now() - begin)
    await sleep(2)
  }
  const { p50, p99 } = percentiles(times)
  const verdict = p99 < targetMs ? 'reached' : 'missed'
  process.stdout.write(`command, ${what}: p50 ${p50} ms, p99 ${p99} ms (below ${targetMs} ms: ${verdict})\n`)
}

/** What a request over HTTP takes that asks for next to nothing. */
async function requests(http: string): Promise<void> {
  const times: number[] = []
  for (let n = 0; n < rounds; n++) {
    const begin = performance.now()
    await (await fetch(`${http}/healthz`)).text()
    times.push(performance.now() - begin)
    await sleep(2)
  }
  const { p50, p99 } = percentiles(times)
  process.stdout.write(`one request beside: p50 ${p50} ms, p99 ${p99} ms\n`)
}

async function syncs(): Promise<void> {
  const { p50, p99 } = await syncTimes(2)
  process.stdout.write(`one fdatasync beside: p50 ${p50.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms\n`)
}

function percentiles(times: readonly number[]): { readonly p50: number; readonly p99: number } {
  const sorted = [...times].sort((a, b) => a - b)
  const at = (part: number) => Math.round((sorted[Math.floor(sorted.length * part)] ?? 0) * 10) / 10
  return { p50: at(0.5), p99: at(0.99) }
}
