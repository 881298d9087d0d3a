/** Questions of the mapping to the hub. */

import type { Answer, Asked, JobProgress } from '../../contract/contract.js'
import { ask, askMatching, fetchDead, moveDead } from '../api.js'

export type Rules = Answer<'GET /api/mapping'>
export type RuleCheck = Answer<'POST /api/mapping/check'>
export type Place = Rules['rules'][number]['place']
/** A rule as the hub keeps it; only the hub knows whether it is right. */
export type Rule = Readonly<Record<string, unknown>>

/** A change takes effect by a start of the processor thread of the hub, which may take a while. */
const patienceMs = 60_000

export function fetchRules(): Promise<Rules> {
  return ask('GET /api/mapping', {})
}

export function checkRule(asked: Partial<Asked<'POST /api/mapping/check'>>): Promise<RuleCheck> {
  return ask('POST /api/mapping/check', asked as Asked<'POST /api/mapping/check'>)
}

export function saveRules(rules: readonly Rule[], match: string): Promise<Rules> {
  return askMatching('POST /api/mapping', { rules }, match, AbortSignal.timeout(patienceMs))
}

export function undoRules(match: string): Promise<Rules> {
  return askMatching('POST /api/mapping/undo', {}, match, AbortSignal.timeout(patienceMs))
}

/** Most dead letters that are counted. */
export const mostCounted = 200

/** Resolves with how many dead letters are on topics that a filter matches, at most `mostCounted`. */
export async function countDead(topic: string): Promise<number> {
  return (await fetchDead({ topic }, mostCounted)).length
}

export function replayDead(topic: string, progress: (progress: JobProgress) => void): Promise<JobProgress> {
  return moveDead('replay', { topic }, progress)
}
