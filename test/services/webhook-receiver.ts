import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { gunzipSync } from 'node:zlib'

/** One message in a batch, as receivers see it. */
export interface HookMessage {
  readonly id: string
  readonly sequence: number
  readonly topic: string
  readonly payload: unknown
  readonly encoding: string
  readonly clientId: string
  readonly user: string
  readonly receivedAt: number
}

export interface HookRequest {
  readonly url: string
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
  readonly messages: readonly HookMessage[]
}

export interface HookReceiver {
  readonly url: string
  readonly requests: readonly HookRequest[]
  /** Messages of the requests that were answered with 2xx, in order. */
  readonly taken: readonly HookMessage[]
  close(): Promise<void>
}

/** Writes an answer; without one, the request is never answered. Returns the status. */
export type HookAnswer = (request: HookRequest, response: ServerResponse) => number | undefined

/** Starts a web server that keeps what it is sent. Without `answer` it takes everything. */
export async function startHookReceiver(answer: HookAnswer = () => 204, port = 0): Promise<HookReceiver> {
  const requests: HookRequest[] = []
  const taken: HookMessage[] = []
  const server = createServer((request, response) => {
    const parts: Buffer[] = []
    request.on('data', (part: Buffer) => parts.push(part))
    request.on('end', () => {
      const body = Buffer.concat(parts)
      const plain = request.headers['content-encoding'] === 'gzip' ? gunzipSync(body) : body
      const messages = JSON.parse(plain.toString()) as HookMessage[]
      const received = { url: request.url ?? '', headers: request.headers, body, messages }
      requests.push(received)
      const status = answer(received, response)
      if (status === undefined) return
      if (status >= 200 && status < 300) taken.push(...messages)
      if (!response.writableEnded) response.writeHead(status).end()
    })
  })
  await new Promise<void>(resolve => server.listen(port, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`,
    requests,
    taken,
    close: () =>
      new Promise(resolve => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
