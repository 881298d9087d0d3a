import { type Decision, ruleText } from '../access/rules.js'
import { reasonCode } from '../mqtt/reason-codes.js'
import type { Dropped } from '../sessions/sessions.js'

/* Sentences that the broker logs, sends and shows about clients. */

/** Returns untrusted text cut down to fit a log line: no line ends, at most 200 characters. */
export function short(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not pass
  const line = text.replace(/[\u0000-\u001f\u007f]/g, '·')
  return line.length > 200 ? `${line.slice(0, 200)}…` : line
}

/** Reasons shown for unauthenticated clients, by return code: they reveal nothing about users. */
export const genericReasons: Readonly<Record<number, string>> = {
  [reasonCode.serverBusy]: 'too many wrong passwords, or too many logins at a time: the password was not checked',
  [reasonCode.badCredentials]: 'wrong user name or password',
}

export const noLonger = 'its user was removed, or its password or login is no longer valid'

/** Returns the rule that denies an action, in words; undefined when the action is allowed. */
export function faultOf(decision: Decision | undefined, user: string): string | undefined {
  if (decision?.allowed) return undefined
  const rule = decision?.rule
  if (!rule) return `no rule of user ${user || '(none)'} allows it`
  return `${ruleText(rule)}${rule.place && ` (${rule.place})`}`
}

/** Returns whether a client id is too long to be shown: thousands of topics with client ids are retained. */
export function isTooLongToShow(clientId: string): boolean {
  return clientId.length > 256
}

/** The fields of a client's retained presence or refusal that the hub reads again. */
export interface ClientPage {
  readonly clientId: string
  readonly user: string
  readonly online: boolean
  readonly action: unknown
}

/** Reads a retained presence or refusal; undefined for any other payload. */
export function readPage(payload: Buffer): ClientPage | undefined {
  let value: unknown
  try {
    value = JSON.parse(payload.toString())
  } catch {
    return undefined
  }
  const { clientId, user, online, action } = (value ?? {}) as Readonly<Record<string, unknown>>
  if (typeof clientId !== 'string' || typeof user !== 'string') return undefined
  return { clientId, user, online: online === true, action }
}

export const droppedSentences: Readonly<Record<Dropped, string>> = {
  queue: 'the oldest message of its queue was dropped: the queue is full or the message too old (limits.queue…)',
  sessions: 'its session was deleted to make room for another (limits.sessions)',
  session_age: 'its session expired, as it was offline for too long (limits.sessionAge)',
  retained: 'a message was not retained: the limit is reached (limits.retained…)',
  not_permitted: 'a message of its queue was dropped: it may no longer read that topic',
  expired: 'a message of its queue was dropped: it had expired',
  too_large: 'a message was dropped: it is larger than the maximum packet size of the client',
  client_refused: 'a message was dropped: the client refused it',
}
