/** Questions of the page Explore to the hub. */

import type { Answer, Asked } from '../../contract/contract.js'
import { ask } from '../api.js'

export type Topics = Answer<'GET /api/topics'>
export type Level = Topics['levels'][number]
export type TopicMessages = Answer<'GET /api/topics/messages'>
export type TopicMessage = TopicMessages['messages'][number]
export type Mapped = TopicMessage['mapped']
export type RetainedList = Answer<'GET /api/retained'>

export function fetchTopics(asked: Partial<Asked<'GET /api/topics'>>): Promise<Topics> {
  return ask('GET /api/topics', asked as Asked<'GET /api/topics'>)
}

/** Resolves with the number of topics that no rule and no preset knows. */
export async function countInbox(): Promise<number> {
  return (await ask('GET /api/inbox', { limit: 1 })).topics
}

export function fetchMessages(topic: string, after?: number): Promise<TopicMessages> {
  return ask('GET /api/topics/messages', after === undefined ? { topic, limit: 30 } : { topic, limit: 30, after })
}

export function fetchRetained(filter: string): Promise<RetainedList> {
  return ask('GET /api/retained', { filter, limit: 200 })
}

export async function clearRetained(filter: string): Promise<number> {
  return (await ask('POST /api/retained/clear', { filter }, AbortSignal.timeout(60_000))).cleared
}

/** Publishes a message. Resolves with its sequence number when it is on disk. */
export async function publish(message: Asked<'POST /api/publish'>): Promise<number> {
  const { messages } = await ask('POST /api/publish', message)
  return messages[0]?.sequence ?? 0
}
