import type { Asked, JobProgress } from '../contract/contract.js'
import { HubError } from '../errors.js'
import { plain } from '../observe/log.js'
import { count, many } from '../runtime/terminal.js'
import type { Call } from './command.js'
import { type hubFlags, hubOf } from './hub-address.js'
import type { JobName } from './hub-client.js'
import { printJson } from './print.js'

/** Sentence for a connection that ends before a change of the past does. */
export const goesOn = 'the connection to the hub ended; the hub goes on by itself: see telehub map past'

type JobCall = Pick<Call<typeof hubFlags>, 'flags' | 'environmentKey' | 'settings' | 'terminal'>

/**
 * Starts a job of the hub, shows the progress, and resolves with the last report. Rejects when the connection ends
 * before the job does, with what `ended` says.
 */
export async function watch<Name extends JobName>(
  call: JobCall,
  name: Name,
  asked: Asked<Name>,
  ended = 'the connection to the hub ended before the job did; what was done stays done',
): Promise<JobProgress> {
  const { progress } = call.terminal
  let last: JobProgress | undefined
  try {
    for await (const report of hubOf(call).job(name, asked)) {
      last = report
      const { done, total } = report
      progress(total ? `${bar(done / total)} ${count(done)} of about ${count(total)}` : many(done, 'message'))
    }
  } catch (error) {
    if (error instanceof HubError) throw error
  } finally {
    progress('')
  }
  if (!last?.finished) {
    throw new HubError('stopping', ended)
  }
  return last
}

/**
 * Starts a job of the hub and shows the progress. `kept` says what became of messages that were not stored. Resolves
 * with the exit code: 1 when the job did not finish.
 */
export async function follow<Name extends JobName>(
  call: JobCall,
  name: Name,
  asked: Asked<Name>,
  kept: string,
): Promise<number> {
  const { out } = call.terminal
  const last = await watch(call, name, asked)
  if (call.flags.json) return printJson(out, last) || (last.error ? 1 : 0)
  const parts = [
    many(last.done, 'message'),
    ...(last.stored > 0 ? [`${count(last.stored)} stored`] : []),
    ...(last.dropped > 0 ? [`${count(last.dropped)} dropped`] : []),
    ...(last.kept > 0 ? [`${count(last.kept)} ${kept}`] : []),
  ]
  out(`${parts.join(', ')}\n`)
  if (!last.error) return 0
  out(`the job stopped early: ${plain(last.error)}\n`)
  return 1
}

function bar(share: number): string {
  const filled = Math.round(Math.min(1, share) * 30)
  return `[${'█'.repeat(filled)}${' '.repeat(30 - filled)}]`
}
