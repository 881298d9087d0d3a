import { OutboundMessage, type Queued } from './delivery.js'
import type { Session } from './session.js'
import type { Group } from './shared-group.js'
import type { QueuedIn, SubscriptionIndex } from './subscription-index.js'

export interface SharedFailoverOptions {
  readonly emitter: SubscriptionIndex
  /** To be journaled. */
  readonly queued: (queued: readonly QueuedIn[], message: OutboundMessage) => void
  /** Another member has it now: to be journaled, after that. */
  readonly moved: (session: Session, entry: Queued) => void
}

/** Messages that a member takes over from an absent one before it sends them. */
const atOnce = 20

/**
 * What members of a shared subscription have, and others get instead: when one leaves or its session ends, all that it
 * has waiting goes to others at once; while it is only away, others take it as they find time. What was in flight at
 * QoS 1 goes too, and may so arrive twice; at QoS 2 it stays. [MQTT-4.8.2-4] [MQTT-4.8.2-5]
 */
export class SharedFailover {
  readonly #options: SharedFailoverOptions

  constructor(options: SharedFailoverOptions) {
    this.#options = options
  }

  /** A session is no member any more. What nobody else may have stays with it. */
  left(group: Group, from: Session): void {
    if (group.members.size === 0) return
    const { emitter } = this.#options
    const mayGo = ({ topic, clientId }: Queued) => emitter.isWanted(group, topic, clientId)
    for (const entry of from.give(group, Infinity, mayGo)) this.reassign(from, entry)
  }

  /** A connected member has nothing more to do. True when it was given something. */
  takeOver(session: Session): boolean {
    for (const { group, qos, reach } of session.shared ?? []) {
      if (!group || group.absent.size === 0 || qos === 0 || reach === 'none') continue
      const mayHave = reach === 'all' ? undefined : ({ topic }: Queued) => session.mayReceive(topic)
      for (const from of group.absent) {
        const given = from.give(group, atOnce, mayHave)
        for (const entry of given) this.#take(group, session, from, entry)
        if (given.length > 0) return true
      }
    }
    return false
  }

  /** What a session may not or cannot deliver goes to another member; false: there is none for it. */
  reassign(from: Session, entry: Queued): boolean {
    const { group } = entry
    if (!group || group.members.size === 0) return false
    const { emitter, queued, moved } = this.#options
    const delivery = new OutboundMessage(entry, entry.at, true)
    const got: QueuedIn[] = []
    if (!emitter.emitTo(group, delivery, got, true, entry.backupDone)) return false
    // First there, then gone from here: a crash between the two costs a duplicate, not the message.
    if (got.length > 0) {
      queued(got, delivery)
      entry.backupDone?.()
    }
    moved(from, entry)
    return true
  }

  #take(group: Group, session: Session, from: Session, entry: Queued): void {
    const { queued, moved } = this.#options
    const { qos, ids } = session.subscriptions.get(group.key) ?? entry
    const lower = qos === 2 ? entry.qos : 1
    const delivery = new OutboundMessage(entry, entry.at, true)
    const taken = session.enqueue({ ...entry, qos: lower, ids })
    if (session.durable) {
      queued([{ session, entry: taken }], delivery)
      moved(from, entry)
    } else {
      from.keep(entry)
      taken.backupDone = () => from.dropBackup(entry)
    }
  }
}
