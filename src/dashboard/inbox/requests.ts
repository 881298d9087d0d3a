/** Questions of the inbox to the hub. */

import type { Answer, JobProgress } from '../../contract/contract.js'
import { ask, moveDead, runJob } from '../api.js'

export type InboxAnswer = Answer<'GET /api/inbox'>
export type InboxGroup = InboxAnswer['groups'][number]

export function fetchInbox(): Promise<InboxAnswer> {
  return ask('GET /api/inbox', { limit: 50 })
}

/**
 * Puts the rule of a group behind those that the hub keeps, and into force for the messages on these topics that the hub
 * still has. The hub goes on with that when the page is gone.
 */
export async function acceptRule(
  { rule, filter }: InboxGroup,
  progress: (progress: JobProgress) => void,
): Promise<JobProgress> {
  const { rules, revision } = await ask('GET /api/mapping', {})
  const own = rules.filter(({ place }) => place.from === 'hub').map(one => one.rule)
  return runJob('POST /api/mapping/apply', { rules: [...own, rule], from: 0, topic: filter }, progress, revision)
}

/** Takes the rule that was accepted last back, with what it has made of the past. */
export function undoAccepted(progress: (progress: JobProgress) => void): Promise<JobProgress> {
  return runJob('POST /api/mapping/apply/undo', {}, progress)
}

/** Handles the dead letters on these topics again. */
export function storeLetters(topic: string, progress: (progress: JobProgress) => void): Promise<JobProgress> {
  return moveDead('replay', { topic }, progress)
}
