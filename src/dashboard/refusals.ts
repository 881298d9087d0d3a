/** Refusals of the hub by client, and remedies. */

import type { Presence, Refusal } from './feed.js'
import { hasHidden } from './wording.js'

/** Most different refusals kept for one client. */
const most = 10
/** Age from which a refusal is no longer news. */
const newsFor = 86_400_000

/** One refusal, with the number of repetitions. */
export interface Refused extends Refusal {
  /** How often this page has seen the refusal. */
  readonly times: number
}

/** The known refusals: the hub keeps the last one of each client, this page all that came since the page was opened. */
export class Refusals {
  readonly #of = new Map<string, readonly Refused[]>()

  take(refusal: Refusal): void {
    const before = this.of(refusal.clientId)
    const isSame = (one: Refusal) =>
      one.action === refusal.action && one.topic === refusal.topic && one.reason === refusal.reason
    const same = before.find(isSame)
    // The retained message of the hub comes again with every connection.
    if (same && same.time >= refusal.time) return
    const newest = { ...refusal, times: (same?.times ?? 0) + 1 }
    this.#of.set(refusal.clientId, [newest, ...before.filter(one => one !== same)].slice(0, most))
  }

  /** Returns the refusals of a client, the newest first. */
  of(clientId: string): readonly Refused[] {
    return this.#of.get(clientId) ?? []
  }

  /** Returns the newest refusal if recent, and not settled by a later connection. */
  news(clientId: string, presence: Presence | undefined, now: number): Refused | undefined {
    const [newest] = this.of(clientId)
    if (!newest || now - newest.time > newsFor) return undefined
    const settled = newest.action === 'connect' && presence?.online === true && presence.since > newest.time
    return settled ? undefined : newest
  }
}

/** Remedy for a refusal: a sentence, and a command that helps. */
export interface Remedy {
  readonly text: string
  readonly command: string
}

/** Returns the remedy for a refusal. `users`: whether this hub has users; without users no command would help. */
export function remedyOf({ action, clientId, user, topic, reason }: Refusal, users: boolean): Remedy {
  if (/\$ are the hub's own/.test(reason))
    return { text: 'No rule allows this: publish to another topic.', command: '' }
  const limit = /\(((?:limits|sys|auth|spool)\.\w+)\)/.exec(reason)?.[1]
  if (limit) return { text: `The setting ${limit} decides this.`, command: '' }
  if (!users || !user) return { text: '', command: '' }
  if (action === 'connect') {
    if (/client id/i.test(reason)) {
      return { text: `The client ids that ${user} may use are in the users file, under “clients”.`, command: '' }
    }
    if (/password|credential/i.test(reason)) {
      return {
        text: 'If the password is lost, set a new one:',
        command: commandOf('telehub user passwd', [user]),
      }
    }
    return { text: '', command: '' }
  }
  const verb = action === 'publish' ? 'publish' : 'read'
  if (/^no rule\b/.test(reason)) {
    return { text: 'To allow it:', command: commandOf('telehub user grant', [user, verb, topic]) }
  }
  const option = action === 'publish' ? '--publish' : action === 'subscribe' ? '--subscribe' : '--read'
  return {
    text: /^deny\b/.test(reason)
      ? 'A deny overrides every allow: narrow or remove that rule. To see which rule decides:'
      : 'To see which rule decides:',
    command: commandOf('telehub explain', ['--user', user, '--client', clientId, option, topic]),
  }
}

/**
 * Quotes a command. Empty when a part is cut off, could be taken for an option, or contains characters that control a
 * terminal or cannot be seen.
 */
function commandOf(command: string, parts: readonly string[]): string {
  const given = parts.filter(part => !/^--\w+$/.test(part))
  if (given.some(part => part === '' || part.startsWith('-') || part.endsWith('…') || hasHidden(part))) return ''
  // The hub replaces a control character by a dot.
  if (given.some(part => part.includes('·'))) return ''
  const quoted = parts.map(part => (/^[\w./@:+,=%-]+$/.test(part) ? part : `'${part.replaceAll("'", `'\\''`)}'`))
  return [command, ...quoted].join(' ')
}
