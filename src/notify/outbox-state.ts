import type { AlertLine, AlertMessage } from './message.js'
import type { EscalationStep } from './plan.js'

/** Most lines of one message. Further alerts are counted in the message. */
export const maxLines = 50
/** The same for browsers, which show little, and of which there are many. */
export const maxPushLines = 10

/** Alerts for one receiver that wait to become a message. */
export interface AlertGroup {
  readonly lines: AlertLine[]
  more: number
  /** Milliseconds since the epoch, as told by the wall clock of then. */
  due: number
}

/** Everything that waits for one receiver: a target, or `target/subscription`. */
export interface Mailbox {
  group: AlertGroup | undefined
  readonly messages: AlertMessage[]
}

/** An alert that nobody has acknowledged yet, and what is to happen then. */
export interface Escalation {
  readonly line: AlertLine
  /** When the alert was taken, in milliseconds since the epoch. */
  readonly since: number
  /** Steps that are still to come, ordered by time. */
  readonly steps: readonly EscalationStep[]
}

/** Lines for a receiver, as indexes into the lines of the entry. `due`: when they become a message, at the latest. */
interface Addition {
  readonly to: string
  readonly lines: readonly number[]
  readonly due: number
}

/** What the journal holds, in order. Each entry is applied whole, or not at all. */
export type OutboxEntry =
  /** Transitions up to `upTo` were handled. */
  | {
      readonly is: 'handled'
      readonly upTo: number
      readonly lines: readonly AlertLine[]
      readonly add: readonly Addition[]
      readonly watch: readonly { readonly key: string; readonly escalation: Escalation }[]
      /** Alerts that are acknowledged or over. */
      readonly settle: readonly string[]
    }
  /** The group of a receiver became a message. */
  | { readonly is: 'formed'; readonly to: string; readonly id: string; readonly made: number }
  /** A message was delivered, or given up. */
  | { readonly is: 'done'; readonly to: string; readonly id: string }
  /** The next step of an escalation was taken. */
  | {
      readonly is: 'escalated'
      readonly key: string
      readonly lines: readonly AlertLine[]
      readonly add: readonly Addition[]
    }
  /** A receiver is no more. */
  | { readonly is: 'closed'; readonly to: string }
  /** A part of a snapshot. */
  | {
      readonly is: 'mailbox'
      readonly to: string
      readonly group?: AlertGroup
      readonly messages: readonly AlertMessage[]
    }

/** The outbox as the journal builds it: the same entries give the same state, however often they are read. */
export class OutboxState {
  /** Sequence of the last transition that was handled. */
  handled = 0
  readonly mailboxes = new Map<string, Mailbox>()
  /** By `alert route`. */
  readonly escalations = new Map<string, Escalation>()

  apply(entry: OutboxEntry): void {
    switch (entry.is) {
      case 'handled':
        this.handled = entry.upTo
        for (const alert of entry.settle) this.#settle(alert)
        for (const { key, escalation } of entry.watch) this.escalations.set(key, escalation)
        this.#add(entry.lines, entry.add)
        break
      case 'formed': {
        const mailbox = this.mailboxes.get(entry.to)
        if (!mailbox?.group) break
        const { lines, more } = mailbox.group
        mailbox.group = undefined
        mailbox.messages.push({ id: entry.id, lines, more, made: entry.made })
        break
      }
      case 'done': {
        const mailbox = this.mailboxes.get(entry.to)
        const at = mailbox?.messages.findIndex(({ id }) => id === entry.id) ?? -1
        if (at >= 0) mailbox?.messages.splice(at, 1)
        if (mailbox && mailbox.messages.length === 0 && !mailbox.group) this.mailboxes.delete(entry.to)
        break
      }
      case 'escalated': {
        const known = this.escalations.get(entry.key)
        if (!known) break
        const steps = known.steps.slice(1)
        if (steps.length > 0) this.escalations.set(entry.key, { ...known, steps })
        else this.escalations.delete(entry.key)
        this.#add(entry.lines, entry.add)
        break
      }
      case 'closed':
        this.mailboxes.delete(entry.to)
        break
      case 'mailbox': {
        const { group, messages } = entry
        const copy = group && { ...group, lines: [...group.lines] }
        this.mailboxes.set(entry.to, { group: copy, messages: [...messages] })
      }
    }
  }

  /** Yields entries that build this state. */
  *snapshot(): Generator<OutboxEntry> {
    const watch = [...this.escalations].map(([key, escalation]) => ({ key, escalation }))
    yield { is: 'handled', upTo: this.handled, lines: [], add: [], watch, settle: [] }
    for (const [to, { group, messages }] of this.mailboxes) {
      yield { is: 'mailbox', to, ...(group && { group }), messages }
    }
  }

  /** Number of messages and of alerts in groups that wait. */
  get waiting(): number {
    let waiting = 0
    for (const { messages, group } of this.mailboxes.values()) waiting += messages.length + (group ? 1 : 0)
    return waiting
  }

  #settle(alert: string): void {
    for (const key of this.escalations.keys()) if (key.startsWith(`${alert} `)) this.escalations.delete(key)
  }

  #add(lines: readonly AlertLine[], additions: readonly Addition[]): void {
    for (const { to, lines: indexes, due } of additions) {
      const mailbox: Mailbox = this.mailboxes.get(to) ?? { group: undefined, messages: [] }
      this.mailboxes.set(to, mailbox)
      mailbox.group ??= { lines: [], more: 0, due }
      const { group } = mailbox
      group.due = Math.min(group.due, due)
      const most = to.includes('/') ? maxPushLines : maxLines
      for (const index of indexes) {
        const line = lines[index]
        if (line && group.lines.length < most) group.lines.push(line)
        else group.more++
      }
    }
  }
}
