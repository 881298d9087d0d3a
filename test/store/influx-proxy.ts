import { createServer, type ServerResponse } from 'node:http'
import { gunzipSync } from 'node:zlib'
import { answersPing } from '../services/influxdb.js'
import { freePort } from '../services/service.js'

/** Done with a write, if anything, instead of passing InfluxDB's answer on. `pass` is to reach InfluxDB first. */
export type Fault = (response: ServerResponse, pass: () => Promise<void>) => unknown

export interface SeenWrite {
  readonly lines: readonly string[]
  readonly bytes: number
  /** InfluxDB's; undefined when it was not asked. */
  readonly status: number | undefined
}

/** Stands before a real InfluxDB, sees every write, and fails the next ones as `faults` say. */
export async function influxProxy(t: { teardown(end: () => unknown): void }, target: string) {
  const writes: SeenWrite[] = []
  const faults: Fault[] = []
  const server = createServer((request, response) => {
    const parts: Buffer[] = []
    request.on('data', part => parts.push(part))
    request.on('end', async () => {
      if (answersPing(request, response)) return
      const body = Buffer.concat(parts)
      const { host, connection, 'content-length': length, ...headers } = request.headers
      const forward = () =>
        fetch(target + request.url, { method: 'POST', headers: headers as Record<string, string>, body })
      const write = request.url?.startsWith('/write') ?? false
      const fault = write ? faults.shift() : undefined
      let status: number | undefined
      if (fault) {
        await fault(response, async () => {
          status = (await forward()).status
        })
      } else {
        const answer = await forward()
        status = answer.status
        response.writeHead(answer.status, { 'content-type': 'application/json' }).end(await answer.text())
      }
      if (!write) return
      const text = (headers['content-encoding'] === 'gzip' ? gunzipSync(body) : body).toString()
      writes.push({ lines: text.trimEnd().split('\n'), bytes: Buffer.byteLength(text), status })
    })
  })
  const port = await freePort()
  await new Promise<void>(resolve => server.listen(port, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    return new Promise(resolve => server.close(resolve))
  })
  return { url: `http://127.0.0.1:${port}`, writes, faults }
}
