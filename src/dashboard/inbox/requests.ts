/** Questions of the inbox to the hub. */

import type { Answer, JobProgress } from '../../contract/contract.js'
import { ask, askMatching, moveDead, runJob } from '../api.js'

export type InboxAnswer = Answer<'GET /api/inbox'>
export type InboxGroup = InboxAnswer['groups'][number]

/** A change takes effect by a start of the processor thread of the hub, which may take a while. */
const patienceMs = 60_000

export function fetchInbox(): Promise<InboxAnswer> {
  return ask('GET /api/inbox', { limit: 50 })
}

/** Saves the rule of a group behind those that the hub keeps. Resolves when it is in force. */
export async function saveRule({ rule }: InboxGroup): Promise<void> {
  const { rules, revision } = await ask('GET /api/mapping', {})
  const own = rules.filter(({ place }) => place.from === 'hub').map(one => one.rule)
  await askMatching('POST /api/mapping', { rules: [...own, rule] }, revision, AbortSignal.timeout(patienceMs))
}

/** Stores the messages on these topics again that the hub still has. */
export function storePast(topic: string, progress: (progress: JobProgress) => void): Promise<JobProgress> {
  return runJob('POST /api/spool/replay', { from: 0, topic }, progress)
}

/** Handles the dead letters on these topics again. */
export function storeLetters(topic: string, progress: (progress: JobProgress) => void): Promise<JobProgress> {
  return moveDead('replay', { topic }, progress)
}
