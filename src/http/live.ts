import type { ServerResponse } from 'node:http'
import type { FastifyInstance } from 'fastify'
import { describe, HubError } from '../errors.js'
import { type Feed, type FeedEvent, type Feeds, parseSpan } from '../push/feeds.js'
import type { Guard } from './guard.js'
import { serve } from './route.js'
import { SharedBatches } from './shared-batches.js'

export type FeedsApi = Pick<Feeds, 'open'>

/** Time between two comments that keep a silent stream open through proxies, and show whether the caller is still allowed. */
const heartbeatMs = 15_000

/** Time that a receiver has to read the end of a stream, before its connection is closed. */
const lastReadMs = 5_000

/** Serves feeds as Server-Sent Events (HTML Living Standard, section 9.2). */
export async function liveRoutes(
  app: FastifyInstance,
  { guard, feeds }: { readonly guard: Pick<Guard, 'identify'>; readonly feeds: FeedsApi },
): Promise<void> {
  serve(app, 'GET /api/live', async ({ topic, history, points, series, after }, { caller, request, reply }) => {
    // Such an answer has no connection yet, and would never learn that its connection is gone.
    if (!reply.raw.socket) {
      throw new HubError('bad_request', 'a stream may not be asked for behind a request that is not answered yet')
    }
    const { user, access } = caller
    const filters = typeof topic === 'string' ? [topic] : topic
    const wanted = {
      filters,
      historyMs: history === undefined ? 0 : parseSpan(history),
      points,
      series: typeof series === 'string' ? [series] : series,
      after: lastEventId(request.headers) ?? after,
    }
    const isValid = () =>
      guard.identify(request).then(
        () => true,
        () => false,
      )
    const feed = feeds.open({ user, access, isValid }, wanted)
    const { raw } = reply.hijack()
    raw.writeHead(200, {
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-store',
      // nginx would hold events back until its buffer is full.
      'x-accel-buffering': 'no',
    })
    raw.write('retry: 1000\n\n')
    const heartbeat = setInterval(() => {
      guard.identify(request).then(
        // The feed may have ended meanwhile.
        () => raw.writableEnded || raw.write(':\n\n'),
        error => feed.close(error),
      )
    }, heartbeatMs)
    raw.once('close', () => feed.close())
    if (raw.destroyed) feed.close()
    try {
      await write(feed, raw)
    } finally {
      clearInterval(heartbeat)
      feed.close()
      // A receiver that does not read never takes the end.
      const late = setTimeout(() => raw.destroy(), lastReadMs)
      raw.once('close', () => clearTimeout(late))
      raw.end()
    }
    return reply
  })
}

const batches = new SharedBatches<Buffer>()

async function write(feed: Feed, raw: ServerResponse): Promise<void> {
  try {
    for (let events = await feed.next(); events; events = await feed.next()) {
      const bytes = batches.of(events, '', () => Buffer.from(events.map(textOf).join('')))
      if (!raw.write(bytes)) await room(raw, feed)
    }
  } catch (error) {
    const { code, message } = error instanceof HubError ? error : { code: 'internal', message: describe(error) }
    raw.write(`event: error\ndata: ${JSON.stringify({ error: code, message })}\n\n`)
  }
}

/** Resolves when more may be written, and when the receiver has left or the feed is closed. */
function room(raw: ServerResponse, feed: Feed): Promise<void> {
  return new Promise(resolve => {
    const done = () => {
      raw.off('drain', done)
      raw.off('close', done)
      feed.onClose = undefined
      resolve()
    }
    if (raw.destroyed || feed.isClosed) return resolve()
    feed.onClose = done
    raw.once('drain', done)
    raw.once('close', done)
  })
}

function textOf({ kind, sequence, json }: FeedEvent): string {
  return `event: ${kind}\n${sequence > 0 || kind === 'ready' ? `id: ${sequence}\n` : ''}data: ${json}\n\n`
}

function lastEventId(headers: Readonly<Record<string, unknown>>): number | undefined {
  const given = headers['last-event-id']
  if (given === undefined || given === '') return undefined
  const id = /^\d{1,15}$/.test(String(given)) ? Number(given) : undefined
  if (id === undefined) {
    throw new HubError('bad_request', `Last-Event-ID: given ${JSON.stringify(given)}, allowed is the id of an event`)
  }
  return id
}
