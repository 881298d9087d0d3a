import type { PendingPublish } from '../model.js'
import type { Backpressure, ReliefListener } from '../runtime/backpressure.js'
import type { Work } from '../runtime/work.js'
import { Fifo } from './fifo.js'

/** Distributes publishes to the subscribers. Implemented by `Sessions`. */
export interface Distributor {
  publish(publish: PendingPublish, sequence: number): void
  /** Called when all publishes up to this sequence number are distributed. */
  committed(sequence: number): void
}

export interface FanOutOptions {
  readonly work: Work
  readonly sessions: Distributor
}

/** A commit group of the spool, with the number of its publishes that still wait. */
interface PublishGroup {
  left: number
  /** The last sequence number of the group; 0 until the group is committed. */
  sequence: number
}

interface WaitingMessage {
  readonly publish: PendingPublish
  readonly error: Error | undefined
  readonly sequence: number
  readonly group: PublishGroup
}

/** The publishes of one client, in order. */
interface FanOutLane {
  readonly clientId: string
  readonly waiting: Fifo<WaitingMessage>
  /** Work that this client may still cause in this round; negative while an expensive publish is paid off. */
  credit: number
}

/** Bytes that may wait before reading stops. */
const maxBytes = 8e6
const overheadBytes = 200

/** Work that each client may cause in one round. */
const roundWork = 2_000

/**
 * Distributes the publishes that the spool has committed. A group is distributed at once while that is little work.
 * Beyond that, the rest waits in a lane for each client, and clients take turns: publishes with many subscribers or
 * many filters to compare hold up neither other clients nor the event loop. The order of each client is kept; the order
 * of different clients may differ from the spool's.
 */
export class FanOut implements Backpressure {
  readonly #options: FanOutOptions
  readonly #work: Work
  readonly #lanes = new Map<string, FanOutLane>()
  readonly #rotation = new Fifo<FanOutLane>()
  /** Committed groups that are not wholly distributed, the oldest first. */
  readonly #groups = new Fifo<PublishGroup>()
  #group: PublishGroup = { left: 0, sequence: 0 }
  #reliever: ReliefListener | undefined
  #bytes = 0
  #overloaded = false
  #isScheduled = false
  /** Value of `work.done` at which this turn ends. */
  #end = 0
  #drained: (() => void)[] = []

  constructor(options: FanOutOptions) {
    this.#options = options
    this.#work = options.work
  }

  /** Takes a publish that the spool has at `sequence`, or refused with an error. Called in the order of the spool. */
  settled(publish: PendingPublish, error: Error | undefined, sequence: number): void {
    if (!this.#isScheduled) this.#schedule()
    const lane = this.#lanes.get(publish.clientId)
    if (!lane && this.#work.done < this.#end) this.#finish(publish, error, sequence)
    else this.#wait(lane ?? this.#newLane(publish.clientId), publish, error, sequence)
  }

  /** Called when the spool has committed up to `sequence`, after {@link settled} for each publish of the group. */
  committed(sequence: number): void {
    if (this.#group.left === 0 && this.#groups.length === 0) {
      this.#options.sessions.committed(sequence)
      return
    }
    this.#group.sequence = sequence
    this.#groups.push(this.#group)
    this.#group = { left: 0, sequence: 0 }
    this.#advance()
  }

  relieves(listener: ReliefListener): void {
    this.#reliever = listener
  }

  /** Whether so many bytes wait that reading should stop. */
  get overloaded(): boolean {
    return this.#overloaded
  }

  /** Resolves when every publish settled so far is distributed. */
  drained(): Promise<void> {
    return this.#lanes.size === 0 ? Promise.resolve() : new Promise(resolve => this.#drained.push(resolve))
  }

  #finish(publish: PendingPublish, error: Error | undefined, sequence: number): void {
    if (!error) this.#options.sessions.publish(publish, sequence)
    publish.settle(error, error ? 0 : sequence)
  }

  #wait(lane: FanOutLane, publish: PendingPublish, error: Error | undefined, sequence: number): void {
    lane.waiting.push({ publish, error, sequence, group: this.#group })
    this.#group.left++
    this.#bytes += publish.payload.length + overheadBytes
    if (this.#bytes > maxBytes) this.#overloaded = true
  }

  #newLane(clientId: string): FanOutLane {
    const lane = { clientId, waiting: new Fifo<WaitingMessage>(), credit: 0 }
    this.#lanes.set(clientId, lane)
    this.#rotation.push(lane)
    return lane
  }

  #schedule(): void {
    this.#isScheduled = true
    this.#end = this.#work.done + this.#work.slice
    setImmediate(this.#turn)
  }

  readonly #turn = (): void => {
    this.#isScheduled = false
    if (this.#lanes.size === 0) return
    this.#schedule()
    while (this.#work.done < this.#end) {
      const lane = this.#rotation.shift()
      if (!lane) break
      this.#serve(lane)
      if (lane.waiting.length > 0) this.#rotation.push(lane)
      else this.#lanes.delete(lane.clientId)
    }
    this.#advance()
    if (this.#overloaded && this.#bytes <= maxBytes / 2) {
      this.#overloaded = false
      this.#reliever?.onRelieved()
    }
    if (this.#lanes.size > 0) return
    for (const resolve of this.#drained.splice(0)) resolve()
  }

  #serve(lane: FanOutLane): void {
    lane.credit = Math.min(roundWork, lane.credit + roundWork)
    while (lane.credit > 0 && this.#work.done < this.#end) {
      const waiting = lane.waiting.shift()
      if (!waiting) return
      const before = this.#work.done
      this.#bytes -= waiting.publish.payload.length + overheadBytes
      waiting.group.left--
      this.#finish(waiting.publish, waiting.error, waiting.sequence)
      lane.credit -= this.#work.done - before + 1
    }
  }

  /** Reports how far publishes are distributed, group by group. */
  #advance(): void {
    for (let group = this.#groups.first; group?.left === 0; group = this.#groups.first) {
      this.#groups.shift()
      this.#options.sessions.committed(group.sequence)
    }
  }
}
