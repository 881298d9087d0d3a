import type { ServerResponse } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import type { JobProgress } from '../contract/contract.js'
import { describe } from '../errors.js'

/** Time from the first to the second line, in milliseconds; doubles with each line, up to the longest. */
const firstMs = 20
const longestMs = 250

/**
 * Answers with the progress of a job, as lines of JSON at intervals, until the job ends or the caller is gone. Resolves
 * with the last progress: with `error`, if `look` rejects.
 */
export async function writeProgress(
  raw: ServerResponse,
  look: () => JobProgress | Promise<JobProgress>,
): Promise<JobProgress> {
  let last: JobProgress = { done: 0, stored: 0, dropped: 0, kept: 0, finished: false }
  raw.writeHead(200, { 'content-type': 'application/x-ndjson; charset=utf-8' })
  try {
    for (let wait = firstMs; ; wait = Math.min(wait * 2, longestMs)) {
      last = await look()
      raw.write(`${JSON.stringify(last)}\n`)
      if (last.finished || raw.destroyed) break
      await sleep(wait)
    }
  } catch (error) {
    last = { ...last, finished: true, error: describe(error) }
    raw.write(`${JSON.stringify(last)}\n`)
  }
  raw.end()
  return last
}
