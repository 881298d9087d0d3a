import type { ServerResponse } from 'node:http'
import type { FastifyInstance } from 'fastify'
import { HubError } from '../errors.js'
import type { Auditor } from '../observe/audit.js'
import type { PipelineApi } from '../pipeline/pipeline-api.js'
import type { MicrosecondClock } from '../runtime/time.js'
import { changeBy } from './changes.js'
import { type Guard, readRulesOf } from './guard.js'
import { serve } from './route.js'

export interface ExportRoutesOptions {
  readonly pipeline: Pick<PipelineApi, 'beginExport' | 'nextOfExport' | 'endExport' | 'askSql'>
  readonly guard: Guard
  readonly audit: Auditor
  readonly clock: MicrosecondClock
}

const types = {
  csv: 'text/csv; charset=utf-8; header=present',
  jsonl: 'application/x-ndjson; charset=utf-8',
  line: 'text/plain; charset=utf-8',
  parquet: 'application/vnd.apache.parquet',
} as const

/** Rights are looked at again after so many milliseconds: an export may take hours. */
const identifyEveryMs = 15_000

/** Sends exports. The next chunk is asked for when the receiver has taken the last one. */
export async function exportRoutes(app: FastifyInstance, options: ExportRoutesOptions): Promise<void> {
  const { pipeline, guard, audit, clock } = options

  serve(app, 'POST /api/sql', async ({ sql, limit }, call) => {
    const who = { ...changeBy(call, guard), event: 'export', what: 'question in SQL', detail: sql } as const
    try {
      const answer = await pipeline.askSql({ sql, limit })
      audit.record({ ...who, result: 'ok' })
      return answer
    } catch (error) {
      audit.record({ ...who, result: 'refused' })
      throw error
    }
  })

  serve(app, 'GET /api/export', async ({ select, measurement, from = 0, to = clock.now() / 1_000, format }, call) => {
    if (from > to) throw new HubError('bad_request', `from (${from}) is after to (${to})`)
    const { request, reply, caller } = call
    // Such an answer has no connection yet, and would never learn that the connection is gone.
    if (!reply.raw.socket) {
      throw new HubError('bad_request', 'a stream may not be asked for behind a request that is not answered yet')
    }
    const query = { select, measurement, from: Math.round(from * 1_000), to: Math.round(to * 1_000), format }
    const begun = await pipeline.beginExport({ query, rules: readRulesOf(caller, '#') })
    const { id, extent, size } = begun
    const who = { ...changeBy(call, guard), event: 'export', what: `export as ${format}` } as const
    const about = JSON.stringify({ select, measurement, from, to })
    audit.record({ ...who, result: 'begun', detail: about })
    const { raw } = reply.hijack()
    const end = () => void pipeline.endExport(id).catch(() => {})
    if (raw.destroyed) end()
    else raw.once('close', end)
    raw.writeHead(200, {
      'content-type': types[format],
      'content-disposition': `attachment; filename="telehub.${format === 'line' ? 'txt' : format}"`,
      'cache-control': 'no-store',
      // nginx would write what the receiver has not taken to a file.
      'x-accel-buffering': 'no',
      // With a Content-Length, a client could send the next request before this answer has ended.
      ...(size && { 'telehub-bytes': size.bytes, 'telehub-rows': size.rows }),
      ...(extent && { 'telehub-extent': `${extent.first / 1_000} ${extent.last / 1_000}` }),
    })
    let rows = 0
    let looked = performance.now()
    try {
      for (;;) {
        const chunk = raw.destroyed ? undefined : await pipeline.nextOfExport(id)
        if (!chunk) break
        rows += chunk.rows
        if (!raw.write(chunk.bytes)) await room(raw)
        if (performance.now() - looked < identifyEveryMs) continue
        looked = performance.now()
        await guard.identify(request)
      }
      audit.record({ ...who, result: raw.destroyed ? 'given up' : 'ok', detail: `${rows} rows of ${about}` })
      raw.end()
    } catch (error) {
      const left = raw.destroyed ? 'given up' : 'failed'
      audit.record({ ...who, result: left, detail: `${rows} rows of ${about}: ${(error as Error).message}` })
      // An answer that is cut off is known as such; an end in order would say that this was all.
      raw.destroy()
    }
    return reply
  })
}

/** Resolves when more may be written, and when the receiver has left. */
function room(raw: ServerResponse): Promise<void> {
  return new Promise(resolve => {
    const done = () => {
      raw.off('drain', done)
      raw.off('close', done)
      resolve()
    }
    if (raw.destroyed) return resolve()
    raw.once('drain', done)
    raw.once('close', done)
  })
}
