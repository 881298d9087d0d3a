import { describe } from '../errors.js'
import type { PublishSink } from '../model.js'
import type { SentenceLog } from '../observe/log.js'
import type { MicrosecondClock } from '../runtime/time.js'
import { nameOf } from '../sessions/session-name.js'
import type { LastWill, LastWills } from '../sessions/sessions.js'
import type { AccessPolicy } from './access-policy.js'
import type { BridgeStates } from './bridge-states.js'
import type { RefusalNotices } from './refusal-notices.js'

export interface WillPublisherOptions {
  readonly wills: LastWills
  readonly policy: AccessPolicy
  readonly refusals: RefusalNotices
  readonly bridges: BridgeStates
  readonly sink: Pick<PublishSink, 'accept'>
  readonly clock: MicrosecondClock
  readonly log: Pick<SentenceLog, 'warn'>
}

/** Publishes the wills of clients that are gone, through the spool as any publish. */
export class WillPublisher {
  readonly #options: WillPublisherOptions

  constructor(options: WillPublisherOptions) {
    this.#options = options
  }

  /** Called at the start: wills of clients that were connected when the hub went down are due. [MQTT-3.1.2-8] */
  restore(): void {
    const { log, wills } = this.#options
    for (const will of wills.all()) {
      this.leave(will, error => {
        if (error) log.warn(`the will of ${will.clientId}: ${describe(error)}`)
        wills.delete(nameOf(will))
      })
    }
  }

  /** Delays or publishes the will of a client gone without DISCONNECT. `done` when the will is stored or refused. */
  leave(will: LastWill, done: (error?: Error) => void): void {
    if (this.#options.wills.delay(will)) done()
    else this.publish(will, done)
  }

  /** Publishes a will that is due. `done` when the will is on disk or refused. */
  publish({ delay: _, expiry, ...will }: LastWill, done: (error?: Error) => void): void {
    const { bridges, clock, policy, refusals, sink } = this.#options
    const { clientId, user = '', topic } = will
    if (bridges.takesWill(clientId, topic)) {
      done()
      return
    }
    const fault = policy.willFault(topic, user, clientId)
    if (fault) {
      refusals.refusedWill(clientId, user, topic, fault)
      done(new Error(fault))
      return
    }
    const expiresAt = expiry === undefined ? undefined : clock.now() + expiry * 1e6
    sink.accept({ ...will, user, expiresAt, packetId: 0, settle: done }, true)
  }
}
