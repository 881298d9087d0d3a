import type { Slices } from '../runtime/slices.js'
import type { LastWills } from './last-wills.js'
import type { Session } from './session.js'
import type { SessionFactory } from './session-factory.js'
import { sessionName } from './session-name.js'
import type { SessionRecorder } from './session-recorder.js'
import { openRecord, type SessionState } from './session-state.js'
import type { SessionOpening, SessionsOptions } from './sessions-options.js'
import type { SharedFailover } from './shared-failover.js'
import { narrow } from './subscription.js'

export interface OpenedSession {
  readonly session: Session
  /** Whether the client has had the session before. */
  readonly present: boolean
}

export interface SessionRegistryParts {
  readonly state: SessionState
  readonly recorder: SessionRecorder
  readonly failover: SharedFailover
  readonly factory: SessionFactory
  readonly wills: LastWills
}

export type SessionRegistryOptions = Pick<
  SessionsOptions,
  'clock' | 'queue' | 'sessions' | 'sessionAgeMs' | 'access' | 'dropped'
>

/**
 * Which sessions there are: opens a session with a connection, keeps durable ones while the client is absent, and ends
 * those that were absent for too long, or are too many.
 */
export class SessionRegistry {
  readonly #state: SessionState
  readonly #recorder: SessionRecorder
  readonly #failover: SharedFailover
  readonly #factory: SessionFactory
  readonly #wills: LastWills
  readonly #options: SessionRegistryOptions
  /** The position of the sweep among the absent sessions. */
  #swept: Iterator<Session, undefined> | undefined

  constructor({ state, recorder, failover, factory, wills }: SessionRegistryParts, options: SessionRegistryOptions) {
    this.#state = state
    this.#recorder = recorder
    this.#failover = failover
    this.#factory = factory
    this.#wills = wills
    this.#options = options
  }

  /** Called when the journal is loaded: clients that were connected when the hub went down are absent from now on. */
  async restored(slices: Slices): Promise<void> {
    for (const session of this.#state.sessions.values()) {
      if (session.absentSince === 0) {
        session.absentSince = this.#options.clock.now()
        this.#recorder.opened(session)
      }
      this.permit(session)
      if (slices.isOver) await slices.turn()
    }
    const longest = [...this.#state.sessions.values()].sort((a, b) => a.absentSince - b.absentSince)
    for (const session of longest) {
      this.#state.absent.add(session, session.user)
      this.#state.index.hold(session)
      if (slices.isOver) await slices.turn()
    }
    this.#makeRoom()
  }

  /**
   * Opens the session of a connection of `user`: a new one, or unless `clean` the earlier one of that client and user.
   * [MQTT-3.1.2-4] [MQTT-3.1.2-5] A session with `expiry` 0 ends with the connection.
   */
  open(clientId: string, { clean, expiry, user = '' }: SessionOpening): OpenedSession {
    const name = sessionName(user, clientId)
    this.#resume(clientId, user, clean)
    const known = this.#state.sessions.get(name)
    if (!known && expiry === 0) return { session: this.transient(name), present: false }
    const session = known ?? this.#factory.durable(name)
    this.#state.absent.delete(session)
    this.#state.index.back(session)
    session.absentSince = 0
    session.expiry = expiry
    this.permit(session)
    this.#recorder.opened(session)
    if (!known) this.#makeRoom()
    return { session, present: known !== undefined }
  }

  /** Returns a session that ends with its connection, whatever there is under that name. */
  transient(name: string): Session {
    const session = this.#factory.transient(name)
    this.permit(session)
    return session
  }

  /** Ends what a client has left, when the client has connected with a clean start and {@link transient}. */
  startedClean(clientId: string, user: string): void {
    this.#resume(clientId, user, true)
  }

  /** Decides what becomes of the session, and of the will, that the client has left. */
  #resume(clientId: string, user: string, clean: boolean): void {
    const name = sessionName(user, clientId)
    this.#adopt(clientId, user, name)
    const left = this.#state.sessions.get(name)
    if (left && this.#isOver(left, this.#options.clock.now())) this.#outlived(left)
    else if (left && clean) this.forget(name)
    else this.#wills.back(name, left !== undefined)
  }

  /** Gives a session from before there were users to the first user with the same client id. */
  #adopt(clientId: string, user: string, name: string): void {
    const early = user === '' ? undefined : this.#state.sessions.get(clientId)
    if (!early || early.attached || this.#state.sessions.has(name)) return
    this.#wills.back(clientId, true)
    this.#recorder.record({ ...openRecord(this.#state.rename(early, name)), c: clientId })
  }

  /** Sets how many seconds the session outlives the connection. A transient session stays transient. */
  setExpiry(session: Session, expiry: number): void {
    session.expiry = expiry
    this.#recorder.opened(session)
  }

  /** Called when the connection of a session is over. */
  leave(session: Session): void {
    session.detach()
    const isKept = this.#recorder.isKept(session)
    if (!isKept || session.expiry === 0) {
      if (isKept) this.forget(session.name)
      else if (!session.durable) this.#end(session)
    } else if (!this.#state.absent.has(session)) {
      session.absentSince = this.#options.clock.now()
      this.#state.absent.add(session, session.user)
      this.#recorder.opened(session)
      // A new object without remembered topics: there may be a hundred thousand absent clients.
      session.access = this.#options.access?.(session.user, session.clientId)
      this.#state.index.hold(session)
    }
  }

  /** Applies changed permissions: each durable session gets the permissions as of now. */
  reconsider(): void {
    for (const session of this.#state.sessions.values()) this.permit(session)
  }

  /** Applies changed permissions to one session, durable or transient. */
  permit(session: Session): void {
    session.access = this.#options.access?.(session.user, session.clientId)
    narrow(session.subscriptions.values(), session.access)
    if (session.shared && session.attached) session.wake()
  }

  /** Ends the durable session of that name. A will that waits is due then. */
  forget(name: string): void {
    const session = this.#state.sessions.get(name)
    if (!session) return
    this.#end(session)
    this.#state.remove(name)
    this.#recorder.record({ t: 'forget', c: name })
    this.#wills.back(name, false)
  }

  /** Ends a session: messages of shared subscriptions go to other members. */
  #end(session: Session): void {
    const { groups } = session
    this.#state.unsubscribeAll(session)
    for (const group of groups) this.#failover.left(group, session)
  }

  /**
   * Removes sessions and queued messages of absent clients that are too old. Looks at `most` sessions and continues
   * behind them the next time; Infinity: at all.
   */
  expire(most: number): void {
    const { queue, clock } = this.#options
    const time = clock.now()
    if (most === Infinity) this.#swept = undefined
    for (let looked = 0; looked < most; looked++) {
      this.#swept ??= this.#state.absent[Symbol.iterator]()
      const { done, value: session } = this.#swept.next()
      if (done) {
        this.#swept = undefined
        return
      }
      if (this.#isOver(session, time)) this.#outlived(session)
      else if (queue.ageMs > 0) session.expire(time)
    }
  }

  /** Ends a session that was absent for too long. One that was to end with the connection is not counted as dropped. */
  #outlived({ name, clientId, expiry }: Session): void {
    this.forget(name)
    if (expiry > 0) this.#options.dropped('session_age', clientId)
  }

  /** Returns whether a session was absent for longer than the client asked for, or than the hub keeps any session. */
  #isOver({ absentSince, expiry }: Session, time: number): boolean {
    if (absentSince === 0) return false
    return time - absentSince >= Math.min(expiry * 1_000, this.#options.sessionAgeMs || Infinity)
  }

  #makeRoom(): void {
    while (this.#state.sessions.size > this.#options.sessions) {
      const longest = this.#state.absent.first
      if (!longest) return
      this.forget(longest.name)
      this.#options.dropped('sessions', longest.clientId)
    }
  }
}
