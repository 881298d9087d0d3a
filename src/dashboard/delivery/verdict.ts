import type { Balance } from '../api.js'
import { countText, sinceText } from '../wording.js'
import { shareText } from './share.js'
import { say, sayCount } from './words.js'

/** Share of all messages from which those that are not stored are no detail any more. */
const mostInOrder = 0.1

/** How good the balance is: `some` and `many` are messages that are not stored, `odd` are some that are missing. */
export type VerdictState = 'even' | 'some' | 'many' | 'odd' | 'counting'

export interface Verdict {
  readonly state: VerdictState
  readonly title: string
  readonly text: string
}

type Counts = Pick<Balance, 'since' | 'residual' | 'received' | 'stored' | 'spool' | 'queue'> &
  Pick<Balance, 'dead' | 'dropped' | 'refused'>

/**
 * Returns what the balance amounts to. What an operator has dropped is settled; dead letters and refused messages are
 * not, however few.
 *
 * @param isSure Whether a residual was seen more than once: a message may be between two counts while they are read.
 * @param isWaiting Whether messages are waiting, or were until a moment ago.
 */
export function verdictOf(balance: Counts, isSure: boolean, isWaiting: boolean, now: number): Verdict {
  const { residual, since, spool, queue, dead, dropped, refused } = balance
  const received = receivedOf(balance)
  const time = sinceText(since, now)
  const open = dead + refused
  const share = open / Math.max(1, received)
  const wait = spool + queue
  const text = [
    sayCount('told.received', received, { time }),
    ...(open > 0 ? [say('told.share', { share: shareText(open, received) })] : []),
    wait > 0 ? sayCount('told.waiting', wait) : say('told.quiet'),
  ].join(' ')
  if (residual !== 0 && !isSure) return { state: 'counting', title: say('verdict.counting'), text }
  if (residual > 0) return { state: 'odd', title: sayCount('verdict.missing', residual), text }
  if (residual < 0) return { state: 'odd', title: sayCount('verdict.double', -residual), text }
  if (received === 0) return { state: 'even', title: say('verdict.none'), text: say('told.none', { time }) }
  const notStored = sayCount('verdict.not-stored', open)
  if (open > 0) return { state: share < mostInOrder ? 'some' : 'many', title: notStored, text }
  if (isWaiting) return { state: 'even', title: say('verdict.waiting'), text }
  return { state: 'even', title: dropped > 0 ? sayCount('verdict.dropped', dropped) : say('verdict.stored'), text }
}

/** Returns how many messages were received: at least as many as are stored, though both are counted one after the other. */
export function receivedOf({ received, stored }: Pick<Balance, 'received' | 'stored'>): number {
  return Math.max(received, stored)
}

/** Returns what to do about a residual. */
export function helpText({ residual, hours }: Pick<Balance, 'residual' | 'hours'>, now: number): string {
  const times = hours.filter(row => row.residual !== 0).map(({ hour }) => sinceText(hour, now))
  return [
    say(residual > 0 ? 'help.missing' : 'help.double'),
    ...(times.length > 0 ? [say('help.when', { times: times.join(say('and')) })] : []),
    say('help.do'),
  ].join(' ')
}

/** Returns what the counts tell of the part that is stored, or dead; undefined when there is nothing to tell. */
export function noteOf(name: string, { stored, received, partly, ignored, expired }: Balance): string | undefined {
  if (name === 'stored' && received > 0) {
    return [
      say('note.share', { share: shareText(stored, received) }),
      ...(ignored > 0 ? [say('note.ignored', { count: countText(ignored) })] : []),
      ...(expired ? [say('note.expired', { count: countText(expired.readings) })] : []),
    ].join('; ')
  }
  return name === 'dead' && partly > 0 ? say('note.partly', { count: countText(partly) }) : undefined
}
