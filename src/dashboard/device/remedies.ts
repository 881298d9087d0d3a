/** Remedies for refusals. */

import type { Refusal } from '../feed.js'
import { hasHidden } from '../wording.js'
import { say } from './words.js'

/** Remedy for a refusal: a sentence, and a command that helps. */
export interface Remedy {
  readonly text: string
  readonly command: string
}

/** Returns the remedy for a refusal. `users`: whether this hub has users; without users no command would help. */
export function remedyOf({ action, clientId, user, topic, reason }: Refusal, users: boolean): Remedy {
  if (/\$ are the hub's own/.test(reason)) return { text: say('remedy.own'), command: '' }
  const limit = /\(((?:limits|sys|auth|spool)\.\w+)\)/.exec(reason)?.[1]
  if (limit) return { text: say('remedy.setting', { setting: limit }), command: '' }
  if (!users || !user) return { text: '', command: '' }
  if (action === 'connect') {
    if (/client id/i.test(reason)) {
      return { text: say('remedy.clients', { user }), command: '' }
    }
    if (/password|credential/i.test(reason)) {
      return {
        text: say('remedy.password'),
        command: commandOf('telehub user passwd', [user]),
      }
    }
    return { text: '', command: '' }
  }
  const verb = action === 'publish' ? 'publish' : 'read'
  if (/^no rule\b/.test(reason)) {
    return { text: say('remedy.allow'), command: commandOf('telehub user grant', [user, verb, topic]) }
  }
  const option = action === 'publish' ? '--publish' : action === 'subscribe' ? '--subscribe' : '--read'
  return {
    text: say(/^deny\b/.test(reason) ? 'remedy.deny' : 'remedy.explain'),
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
