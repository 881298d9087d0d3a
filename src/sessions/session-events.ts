import type { SentenceLog } from '../observe/log.js'
import type { MillisecondClock } from '../runtime/time.js'
import type { GroupName, Queued } from './delivery.js'
import type { FeedBeats } from './feed-beats.js'
import type { Session } from './session.js'
import type { DropReason, SessionEvents } from './session-host.js'
import type { QueueMemory } from './session-queue.js'
import type { SessionRecorder } from './session-recorder.js'
import type { SessionTurns } from './session-turns.js'
import type { SharedFailover } from './shared-failover.js'
import type { SlowReceiverServices } from './slow-receiver.js'
import type { SubscriptionIndex } from './subscription-index.js'

export interface SessionServices {
  readonly clock: MillisecondClock
  readonly memory: QueueMemory
  readonly slow: SlowReceiverServices
  readonly feeds: FeedBeats
  readonly turns: SessionTurns
  readonly recorder: SessionRecorder
  readonly failover: SharedFailover
  readonly index: SubscriptionIndex
  /** Called when a message will not reach this client. */
  readonly dropped: (why: DropReason, clientId: string) => void
  readonly log: Pick<SentenceLog, 'warn'>
}

/** What sessions of both kinds have in common. */
class CommonEvents {
  readonly memory: QueueMemory
  readonly slow: SlowReceiverServices
  readonly feeds: FeedBeats
  protected readonly services: SessionServices

  constructor(services: SessionServices) {
    this.services = services
    this.memory = services.memory
    this.slow = services.slow
    this.feeds = services.feeds
  }

  now(): number {
    return this.services.clock.now()
  }

  later(session: Session): void {
    this.services.turns.later(session)
  }

  dropped(session: Session, entry: Queued, why: DropReason): void {
    const { failover, recorder, dropped } = this.services
    if (why === 'not_permitted' && mayPass(entry) && failover.reassign(session, entry)) return
    recorder.recordOf(session, { t: 'drop', c: session.name, n: entry.n })
    dropped(why, session.clientId)
  }

  moved(session: Session, entry: Queued): void {
    this.services.recorder.moved(session, entry)
  }

  groupDone(session: Session, { key }: GroupName): void {
    this.services.index.group(key)?.absent.delete(session)
  }

  takeOver(session: Session): boolean {
    return this.services.failover.takeOver(session)
  }
}

/** Events of durable sessions: recorded in the journal. */
export class DurableEvents extends CommonEvents implements SessionEvents<Session> {
  queued(session: Session, entry: Queued): void {
    const { recorder } = this.services
    if (recorder.isKept(session)) recorder.queued([{ session, entry }], entry, 0)
  }

  sent(session: Session, { n, packetId: m }: Queued): void {
    this.services.recorder.recordOf(session, { t: 'num', c: session.name, n, m })
  }

  released(session: Session, m: number, done: (error?: Error) => void): void {
    const { recorder, log } = this.services
    recorder.recordOf(session, { t: 'rel', c: session.name, m }, error => {
      if (error) log.warn(`${session.clientId}: not acknowledged: ${error.message}`)
      done(error)
    })
  }

  kept(done: (error?: Error) => void): void {
    this.services.recorder.whenKept(done)
  }

  acknowledged(session: Session, m: number): void {
    this.services.recorder.recordOf(session, { t: 'ack', c: session.name, m })
  }
}

/** Events of transient sessions: nothing of these sessions outlives a crash. */
export class TransientEvents extends CommonEvents implements SessionEvents<Session> {
  queued(): void {}

  sent(): void {}

  released(_session: Session, _packetId: number, done: (error?: Error) => void): void {
    done()
  }

  kept(done: (error?: Error) => void): void {
    done()
  }

  acknowledged(): void {}
}

/** Returns whether another member may get a message. A message sent with QoS 2 goes to no other. [MQTT-4.8.2-5] */
function mayPass({ group, qos, packetId }: Queued): boolean {
  return group !== undefined && (qos === 1 || packetId === 0)
}
