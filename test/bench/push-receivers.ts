import { get } from 'node:http'
import WebSocket from 'ws'
import { Connection } from './connection.js'
import { type Distribution, Latencies } from './task.js'
import { monotonicMicros } from './wire.js'

/*
 * Receivers of push.ts, in a process of their own. They do as little as possible with what they get: they count the
 * readings, and look at the time in some. The value of a reading is when it was published, in microseconds.
 */

export interface ReceiveJob {
  readonly kind: 'socket.io' | 'sse' | 'mqtt'
  readonly port: number
  readonly receivers: number
  /** Receivers that subscribe and then read nothing. */
  readonly deaf: number
  /** The latency of one reading in this many is measured. */
  readonly sampleEvery: number
}

export interface ReceiveReport {
  readonly received: number
  readonly latency: Distribution | undefined
}

const latencies = new Latencies()
let received = 0
let untilSample = 0
let sampleEvery = 1

function reading(stamp: number): void {
  received++
  if (untilSample-- > 0) return
  untilSample = sampleEvery - 1
  if (stamp > 0) latencies.add(monotonicMicros() - stamp)
}

const marker = '"value":'

/** Looks at each reading of a text that holds several, one behind the other. */
function readings(text: string): void {
  for (let at = text.indexOf(marker); at >= 0; at = text.indexOf(marker, at + 1)) {
    reading(untilSample > 0 ? 0 : Number.parseInt(text.slice(at + marker.length, at + marker.length + 20), 10))
  }
}

async function open(job: ReceiveJob, n: number): Promise<void> {
  const isDeaf = n >= job.receivers
  if (job.kind === 'mqtt') {
    const connection = new Connection({
      port: job.port,
      clientId: `receiver-${n}`,
      onPacket: (data, start, _body, end) => {
        if ((data[start] as number) >> 4 !== 3) return
        const at = untilSample > 0 ? -1 : data.subarray(start, end).indexOf(marker)
        reading(at < 0 ? 0 : Number.parseInt(data.toString('latin1', start + at + marker.length, start + at + 28), 10))
      },
      onFailure: fail,
    })
    await connection.ready
    await connection.subscribe(1, ['$hub/last/bench/#'], 0)
    if (isDeaf) connection.socket.pause()
    return
  }
  await new Promise<void>(resolve => {
    if (job.kind === 'sse') {
      get({ port: job.port, path: '/api/live?topic=bench/%23', agent: false }, response => {
        response.setEncoding('latin1')
        response.on('data', (text: string) => {
          if (text.includes('event: ready')) resolve()
          readings(text)
        })
        if (isDeaf) setTimeout(() => response.pause(), 1_000)
      }).on('error', fail)
      return
    }
    const socket = new WebSocket(`ws://127.0.0.1:${job.port}/socket.io/?EIO=4&transport=websocket`)
    socket.on('error', fail)
    socket.on('message', message => {
      const text = message.toString()
      if (text.startsWith('42["live"')) readings(text)
      else if (text === '2') socket.send('3')
      else if (text.startsWith('0{')) socket.send('40')
      else if (text.startsWith('40')) socket.send('420["subscribe",["bench/#"]]')
      else if (text.startsWith('42["ready"') || text.startsWith('430')) {
        if (isDeaf) setTimeout(() => socket.pause(), 1_000)
        resolve()
      }
    })
  })
}

function fail(error: Error): void {
  console.error(error)
  process.exit(1)
}

process.on('message', async (message: ReceiveJob | 'report') => {
  if (message === 'report') {
    process.send?.({ received, latency: latencies.summary() } satisfies ReceiveReport)
    received = 0
    latencies.clear()
    return
  }
  sampleEvery = message.sampleEvery
  for (let n = 0; n < message.receivers + message.deaf; n++) await open(message, n)
  process.send?.('open')
})
process.on('disconnect', () => process.exit(0))
