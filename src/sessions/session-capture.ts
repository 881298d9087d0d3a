import type { Queued } from './delivery.js'
import type { SharedPayloads } from './queue-chunk.js'
import type { RetainedMessages } from './retained.js'
import type { Session } from './session.js'
import type { SessionHead, SnapshotWriter } from './session-snapshot.js'
import { dueRecord, isJournalled, recordedSubscription, type SessionState, willRecord } from './session-state.js'

export interface CaptureOptions {
  /** The last record of the journal as of now. */
  readonly ordinal: () => number
  /** Queued messages that cannot be read back from the disk are given up. Otherwise there is no snapshot. */
  readonly mayLose: boolean
}

/** Messages that stay in memory in front of a queue whose client is connected. */
const keptReady = 100

/** Messages in one frame of a snapshot. */
const messagesAtOnce = 1_000

/**
 * Puts a state into a snapshot while it changes. Each step takes a millisecond or two. What comes to be meanwhile may
 * be missing: the journal has it. What waits for absent clients is packed, and is on disk alone when the snapshot is.
 */
export function* capture(state: SessionState, to: SnapshotWriter, options: CaptureOptions): Generator<void> {
  yield* captureRetained(state.retained, to)
  yield* captureRetained(state.own, to)
  for (const will of state.wills.values()) to.record(willRecord(will), will.payload)
  for (const { will, due } of state.dueWills.values()) to.record(dueRecord(will, due), will.payload)
  for (const session of some(state.sessions.values(), state.sessions.size)) {
    yield* pack(session, state.payloads)
    // It may have ended while it was packed.
    if (state.sessions.get(session.name) === session) yield* captureSession(session, to, options)
  }
}

function* captureRetained(retained: RetainedMessages, to: SnapshotWriter): Generator<void> {
  for (const message of some(retained.all(), retained.count)) {
    if (!isJournalled(message.topic)) continue
    to.retained(message)
    yield
  }
}

/** The first ones: what is added meanwhile comes behind them, and might have no end. */
function* some<T>(all: Iterable<T>, most: number): Generator<T> {
  let left = most
  for (const one of all) {
    if (left-- <= 0) return
    yield one
  }
}

function* pack(session: Session, payloads: SharedPayloads): Generator<void> {
  if (session.hasOfGroups) return
  const { unsent } = session
  if (!session.attached) unsent.compact()
  if (!session.attached || unsent.length > 2 * keptReady) {
    // It may have connected, or joined a group, since the last step.
    while (!session.hasOfGroups && unsent.pack(session.attached ? keptReady : 0, payloads)) yield
  }
}

function* captureSession(session: Session, to: SnapshotWriter, { ordinal, mayLose }: CaptureOptions): Generator<void> {
  const { name: c, user: u, absentSince: a, expiry: e, incoming, inflight, unsent, backups } = session
  const head: SessionHead = {
    c,
    ...(u && { u }),
    a,
    ...(e !== Infinity && { e }),
    ordinal: ordinal(),
    n: session.last,
    m: session.lastId,
    s: [...session.subscriptions.values()].map(recordedSubscription),
    ...(incoming.size > 0 && { q: [...incoming.keys()] }),
  }
  // All at this moment; what is in them does not change but for what is sent.
  const sent = [...inflight.values()]
  const isWhole = session.hasOfGroups
  const waiting: Queued[] = isWhole ? [...unsent, ...(backups ?? [])].sort((a, b) => a.n - b.n) : []
  const { leading, chunks, trailing } = isWhole ? nothing : unsent
  to.session(head)
  to.messages(sent)
  for (let at = 0; at < waiting.length; at += messagesAtOnce) {
    to.messages(waiting.slice(at, at + messagesAtOnce))
    yield
  }
  yield
  to.copied(leading)
  for (const chunk of chunks) {
    try {
      to.chunk(chunk)
    } catch (error) {
      if (!mayLose) throw error
      unsent.lose(chunk, error)
    }
    yield
  }
  to.copied(trailing)
  yield
}

const nothing = { leading: [], chunks: [], trailing: [] } as const
