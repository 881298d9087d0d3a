import { Connection } from './connection.js'
import { Latencies } from './task.js'
import { monotonicMicros, publishPacket } from './wire.js'

/*
 * Clients of sessions.ts, in a process of their own: the load must not delay what is measured.
 *
 *     probe        a client that publishes to itself with QoS 1, fifty times a second; `report` asks how it fared
 *     reconnect    clients that have kept sessions, all at once; reports when each has its messages
 */

export type ClientsJob =
  | { readonly kind: 'probe'; readonly port: number }
  | {
      readonly kind: 'reconnect'
      readonly port: number
      readonly first: number
      readonly clients: number
      readonly messages: number
    }

/** Milliseconds. */
export interface ProbeReport {
  readonly worst: number
  readonly p99: number
  readonly count: number
}

export interface ReconnectReport {
  /** Until the last one had its CONNACK, and all its messages. */
  readonly connectedMs: number
  readonly deliveredMs: number
  readonly received: number
  /** Connections that failed before CONNACK; each client tries again, as devices do. */
  readonly failed: number
}

const everyMs = 20

/** Milliseconds after which a client whose connection failed tries again. */
const againMs = 500

function probe(port: number): void {
  const latencies = new Latencies()
  let asked = 0
  const connection = new Connection({
    port,
    clientId: 'probe',
    // Publishes come back in order, with the time at which they left.
    onPacket: (data, start, body, end) => {
      if ((data[start] as number) >> 4 !== 3) return
      latencies.add(monotonicMicros() - Number(data.toString('latin1', end - 20, end)))
      const at = body + 2 + data.readUInt16BE(body)
      connection.write(Buffer.from([0x40, 2, data[at] as number, data[at + 1] as number]))
    },
    onFailure: error => fail(error),
  })
  process.on('message', message => {
    if (message !== 'report') return
    const { p99 = 0, max = 0, samples = 0 } = latencies.summary() ?? {}
    process.send?.({ worst: max, p99, count: samples } satisfies ProbeReport)
    latencies.clear()
  })
  connection.ready
    .then(() => connection.subscribe(1, ['probe'], 1))
    .then(() => {
      setInterval(() => {
        asked = (asked % 60_000) + 1
        const sentAt = Buffer.from(String(Math.round(monotonicMicros())).padStart(20))
        connection.write(publishPacket('probe', sentAt, 1, asked))
      }, everyMs)
      process.send?.('ready')
    })
    .catch(fail)
}

async function reconnect({ port, first, clients, messages }: Extract<ClientsJob, { kind: 'reconnect' }>) {
  const begin = performance.now()
  let connectedMs = 0
  let received = 0
  let whole = 0
  let failed = 0
  await new Promise<void>((resolve, reject) => {
    const isDone = () => {
      if (whole === clients && connectedMs > 0) resolve()
    }
    let connected = 0
    const connect = (n: number) => {
      let left = messages
      let isConnected = false
      let isOver = false
      const onFailure = (error: Error) => {
        if (isConnected) return reject(error)
        if (isOver) return
        isOver = true
        failed++
        setTimeout(connect, againMs, n)
      }
      const connection: Connection = new Connection({
        port,
        clientId: `kept-${first + n}`,
        kept: true,
        localAddress: `127.0.${1 + (n % 200)}.1`,
        onPacket: (data, start, body) => {
          if ((data[start] as number) >> 4 !== 3) return
          const at = body + 2 + data.readUInt16BE(body)
          connection.write(Buffer.from([0x40, 2, data[at] as number, data[at + 1] as number]))
          received++
          if (--left === 0) {
            whole++
            isDone()
          }
        },
        onFailure,
      })
      connection.ready.then(() => {
        isConnected = true
        if (++connected === clients) connectedMs = performance.now() - begin
        isDone()
      }, onFailure)
    }
    for (let n = 0; n < clients; n++) connect(n)
  })
  const report: ReconnectReport = { connectedMs, deliveredMs: performance.now() - begin, received, failed }
  process.send?.(report)
}

function fail(error: Error): void {
  console.error(`sessions: ${error.message}`)
  process.exit(1)
}

process.once('message', (job: ClientsJob) => {
  if (job.kind === 'probe') probe(job.port)
  else reconnect(job).catch(fail)
})
