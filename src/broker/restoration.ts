import { HubError } from '../errors.js'
import type { Message, PublishSink, Replay } from '../model.js'
import type { SentenceLog } from '../observe/log.js'
import type { ReliefListener } from '../runtime/backpressure.js'
import { Slices } from '../runtime/slices.js'
import type { Work } from '../runtime/work.js'
import { sessionName } from '../sessions/session-name.js'
import type { Sessions } from '../sessions/sessions.js'

export interface RestorationOptions {
  readonly sessions: Sessions
  readonly sink: Pick<PublishSink, 'sequence' | 'replay'>
  readonly work: Work
  /** Milliseconds from the start after which publishes are taken although not everything is restored. */
  readonly waitMs: number
  readonly log: Pick<SentenceLog, 'info'>
}

/** Acts when the sessions are restored. Implemented by `Broker`. */
export interface RestorationListener {
  /** Called when sessions and retained messages are restored, and lack what the journal has lost in a crash. */
  onRestored(): void
  /** Called when nothing is missing any more: from now on publishes are distributed as they are committed. */
  onRestorationOver(): void
}

/** Kept sessions and retained messages that are restored so far. */
export interface RestorationProgress {
  readonly sessions: number
  readonly retained: number
}

/** Milliseconds of work before other work has a turn. */
const sliceMs = 5

/** Times that the spool may be ahead again when all that was there is published, before clients have to wait. */
const mostRounds = 3

/**
 * The time from the start until the sessions are restored, and have everything that the spool has. Publishes are taken
 * meanwhile: they are acknowledged once in the spool, as always, and the sessions get them from there, in their order,
 * before anything else is distributed. What needs the sessions waits here.
 */
export class Restoration {
  readonly #options: RestorationOptions
  /** Resolves when the restoration is over. Rejects when that failed, or with `stop`. */
  done: Promise<void> = Promise.resolve()
  /** Resolves, with the reason, when the restoration fails after `start` has resolved. */
  readonly failed: Promise<Error>
  #fail: (reason: Error) => void = () => {}
  #replay: Replay | undefined
  #isOver = false
  #isStopping = false
  #isHurrying = false
  #reliever: ReliefListener | undefined
  /** Actions that wait for the end, in order. */
  #waiting: (() => void)[] = []
  /** Number of waiting clients of each session name. */
  readonly #names = new Map<string, number>()

  constructor(options: RestorationOptions) {
    this.#options = options
    this.failed = new Promise(resolve => {
      this.#fail = resolve
    })
  }

  /** False until the sessions have everything that the spool has. */
  get isOver(): boolean {
    return this.#isOver
  }

  /** Undefined once the restoration is over. */
  get progress(): RestorationProgress | undefined {
    if (this.#isOver) return undefined
    const { sessions, retained } = this.#options.sessions.counts
    return { sessions, retained }
  }

  /** True when clients publish faster than is published again: nothing more should be read. */
  get overloaded(): boolean {
    return this.#isHurrying
  }

  relieves(listener: ReliefListener): void {
    this.#reliever = listener
  }

  /** Called before the readers of the spool begin, which delete what they have passed. */
  open(): void {
    this.#replay = this.#options.sink.replay(0)
  }

  /** Begins. Resolves when the restoration is over, or has taken so long that publishes are to be taken meanwhile. */
  async start(listener: RestorationListener): Promise<void> {
    const { log, sessions, sink, waitMs } = this.#options
    const begin = performance.now()
    this.done = this.#restore(listener)
    let timer: NodeJS.Timeout | undefined
    const isLong = new Promise<true>(resolve => {
      timer = setTimeout(resolve, waitMs, true)
    })
    const isEarly = await Promise.race([this.done, isLong]).finally(() => clearTimeout(timer))
    if (!isEarly) return
    const before = sink.sequence
    log.info(`publishes are taken while kept sessions are restored: ${said(sessions.counts)} so far`)
    const seconds = () => ((performance.now() - begin) / 1_000).toFixed(1)
    this.done.then(
      () => {
        const taken = sink.sequence - before
        log.info(`restored after ${seconds()} s: ${said(sessions.counts)}; ${taken} publishes were taken meanwhile`)
      },
      error => {
        if (!this.#isStopping) this.#fail(error instanceof Error ? error : new Error(String(error)))
      },
    )
  }

  async #restore(listener: RestorationListener): Promise<void> {
    const { sessions } = this.#options
    const replay = this.#replay as Replay
    try {
      await sessions.start.restore()
      if (this.#isStopping) throw new HubError('stopping', 'the hub stops')
      listener.onRestored()
      await this.#publishAgain(replay)
    } finally {
      replay.close()
    }
    listener.onRestorationOver()
    this.#reliever?.onRelieved()
    await this.#goOn()
  }

  /** Publishes to the sessions what they lack of the spool, and ends the restoration. */
  async #publishAgain(replay: Replay): Promise<void> {
    const { sessions, sink, work } = this.#options
    const goesOn = () => {
      if (this.#isStopping) throw new HubError('stopping', 'the hub stops')
    }
    const slices = new Slices(sliceMs, goesOn, work)
    let last = sessions.applied
    replay.skipTo(last)
    let goal = sink.sequence
    let rounds = 0
    for (let found = replay.next(); found; found = replay.next()) {
      if (found !== 'passed') {
        this.#publish(found)
        last = found.sequence
      }
      if (last >= goal && goal < sink.sequence) {
        goal = sink.sequence
        this.#isHurrying = ++rounds >= mostRounds
      }
      if (!slices.isOver) continue
      sessions.publishedAgain(last)
      await slices.turn()
    }
    // Published again after the next crash, these messages would restore packet ids that were released meanwhile.
    sessions.committed(last)
    sessions.begin()
    // In the same turn: the next commit is distributed, not read.
    this.#isOver = true
    this.#isHurrying = false
  }

  #publish(message: Message): void {
    const { sessions } = this.#options
    const { qos, retain, sequence, user, clientId, packetId } = message
    if (qos === 0 && !retain) return
    sessions.publish(message, sequence)
    if (qos === 2 && packetId > 0) sessions.recoverIncoming(sessionName(user, clientId), packetId)
  }

  /** Runs `act` when all is restored: at once, or behind everything that waits. */
  afterwards(act: () => void): void {
    if (this.#isOver && this.#waiting.length === 0) act()
    else this.#waiting.push(act)
  }

  /** Returns whether a client must wait: one with that session name does, or `needsSessions` and they are not there. */
  delays(name: string, needsSessions: boolean): boolean {
    return (needsSessions && !this.#isOver) || this.#names.has(name)
  }

  /** Has a client with that session name wait; clients with the same name keep their order. */
  wait(name: string, goOn: () => void): void {
    this.#names.set(name, (this.#names.get(name) ?? 0) + 1)
    this.#waiting.push(() => {
      const left = (this.#names.get(name) ?? 1) - 1
      if (left === 0) this.#names.delete(name)
      else this.#names.set(name, left)
      goOn()
    })
  }

  /** Runs everything that waits, and what comes meanwhile. */
  async #goOn(): Promise<void> {
    const slices = new Slices(sliceMs, undefined, this.#options.work)
    // The list is emptied at the end alone: until then nobody overtakes.
    for (let next = 0; next < this.#waiting.length; next++) {
      this.#waiting[next]?.()
      if (slices.isOver && !this.#isStopping) await slices.turn()
    }
    this.#waiting = []
  }

  /** Gives up what is under way. */
  stop(): void {
    this.#isStopping = true
    void this.#options.sessions.start.stop()
  }
}

function said({ sessions, retained }: RestorationProgress): string {
  return `${sessions} sessions and ${retained} retained messages`
}
