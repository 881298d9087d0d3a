import { type GroupName, OutboundMessage, type Queued } from './delivery.js'
import type { Session } from './session.js'
import type { SessionRecorder } from './session-recorder.js'
import type { QueuedIn, SubscriptionIndex } from './subscription-index.js'

/** Number of messages that a member takes over from an absent one before sending them. */
const atOnce = 20

/**
 * Moves messages of a shared subscription from one member to others. When a member leaves or the session ends, all
 * waiting messages go to others at once. While a member is only absent, others take messages as they find time.
 * Messages in flight at QoS 1 go too, and may so arrive twice; at QoS 2 they stay. [MQTT-4.8.2-4] [MQTT-4.8.2-5]
 */
export class SharedFailover {
  readonly #index: SubscriptionIndex
  readonly #recorder: SessionRecorder

  constructor(index: SubscriptionIndex, recorder: SessionRecorder) {
    this.#index = index
    this.#recorder = recorder
  }

  /** Called when a session is no member any more. Messages that no other member may have stay with the session. */
  left({ key }: GroupName, from: Session): void {
    const group = this.#index.group(key)
    if (!group) return
    const mayGo = ({ topic, clientId }: Queued) => this.#index.isWanted(group, topic, clientId)
    for (const entry of from.give(group, Infinity, mayGo)) this.reassign(from, entry)
  }

  /** Gives an idle connected member the messages of absent ones. Returns true when there were any. */
  takeOver(session: Session): boolean {
    for (const { filter, qos, reach } of session.shared ?? []) {
      const group = this.#index.group(filter)
      if (!group || group.absent.size === 0 || qos === 0 || reach === 'none') continue
      const mayHave = reach === 'all' ? undefined : ({ topic }: Queued) => session.mayReceive(topic)
      for (const from of group.absent) {
        const given = from.give(group, atOnce, mayHave)
        for (const entry of given) this.#take(filter, session, from, entry)
        if (given.length > 0) return true
      }
    }
    return false
  }

  /** Moves to another member a message that a session may not or cannot deliver. Returns false when there is none. */
  reassign(from: Session, entry: Queued): boolean {
    const group = entry.group && this.#index.group(entry.group.key)
    if (!group) return false
    const delivery = new OutboundMessage(entry, entry.at, true)
    const got: QueuedIn[] = []
    if (!this.#index.emitTo(group, delivery, got, true, entry.backupDone)) return false
    // Added there first, then removed here: a crash between the two costs a duplicate, not the message.
    if (got.length > 0) {
      this.#recorder.queued(got, delivery, 0)
      entry.backupDone?.()
    }
    this.#recorder.moved(from, entry)
    return true
  }

  #take(filter: string, session: Session, from: Session, entry: Queued): void {
    const { qos, ids } = session.subscriptions.get(filter) ?? entry
    const lower = qos === 2 ? entry.qos : 1
    const delivery = new OutboundMessage(entry, entry.at, true)
    const taken = session.enqueue({ ...entry, qos: lower, ids })
    if (session.durable) {
      this.#recorder.queued([{ session, entry: taken }], delivery, 0)
      this.#recorder.moved(from, entry)
    } else {
      from.backups.keep(entry)
      taken.backupDone = () => from.backups.drop(entry)
    }
  }
}
