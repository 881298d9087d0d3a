import { type Enqueued, type Queued, waitingEntry } from './delivery.js'
import type { SessionEvents } from './session-host.js'

/** The session that keeps backups. */
export interface BackupKeeper {
  /** Number of the last message queued. */
  last: number
}

/**
 * Messages that other members of the same groups have, kept by a session (`S`). The session gets them back should those
 * members and this process end.
 */
export class Backups<S extends BackupKeeper> implements Iterable<Queued> {
  readonly #session: S
  readonly #host: Pick<SessionEvents<S>, 'moved'>
  readonly #kept = new Set<Queued>()

  constructor(session: S, host: Pick<SessionEvents<S>, 'moved'>) {
    this.#session = session
    this.#host = host
  }

  get size(): number {
    return this.#kept.size
  }

  [Symbol.iterator](): Iterator<Queued> {
    return this.#kept.values()
  }

  /** Adds a backup of a message that another group member has. The caller journals the backup as queued here. */
  add(message: Enqueued): Queued {
    return this.keep(waitingEntry(message, ++this.#session.last))
  }

  /** Keeps, as a backup, a message that another member has taken over. */
  keep(entry: Queued): Queued {
    this.#kept.add(entry)
    return entry
  }

  /** Drops a backup: the other member has delivered the message. */
  drop(entry: Queued): void {
    if (this.#kept.delete(entry)) this.#host.moved(this.#session, entry)
  }
}
