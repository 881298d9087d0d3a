import type { Queued } from './delivery.js'
import type { SharedPayloads } from './queue-chunk.js'
import type { RetainedMessages } from './retained.js'
import type { Session } from './session.js'
import type { SessionHead, SnapshotWriter } from './session-snapshot.js'
import { dueRecord, isJournalled, recordedSubscription, type SessionState, willRecord } from './session-state.js'

export interface CaptureOptions {
  /** Returns the ordinal of the last record in the journal. */
  readonly ordinal: () => number
  /** Whether queued messages that cannot be read back from the disk are given up. Otherwise the snapshot fails. */
  readonly mayLose: boolean
}

/** Messages that stay in memory at the front of a queue whose client is connected. */
const keptReady = 100

/** Messages in one frame of a snapshot. */
const messagesAtOnce = 1_000

/**
 * Writes a state into a snapshot while the state changes. Each step takes a millisecond or two. Changes made meanwhile
 * may be missing, as the journal has them. Messages that wait for absent clients are packed, and are on disk alone once
 * the snapshot is.
 */
export function* capture(state: SessionState, to: SnapshotWriter, options: CaptureOptions): Generator<void> {
  yield* captureRetained(state.retained, to)
  yield* captureRetained(state.own, to)
  for (const will of state.wills.values()) to.record(willRecord(will), will.payload)
  for (const { will, due } of state.dueWills.values()) to.record(dueRecord(will, due), will.payload)
  for (const session of some(state.sessions.values(), state.sessions.size)) {
    yield* pack(session, state.payloads)
    // The session may have ended during the packing.
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

/** Yields the first `most` items. Items added meanwhile come behind them, and might have no end. */
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
    // The session may have connected, or joined a group, since the last step.
    while (!session.hasOfGroups && unsent.pack(session.attached ? keptReady : 0, payloads)) yield
  }
}

function* captureSession(session: Session, to: SnapshotWriter, { ordinal, mayLose }: CaptureOptions): Generator<void> {
  const { name: c, user: u, absentSince: a, expiry: e, incoming, inflight, unsent } = session
  const head: SessionHead = {
    c,
    ...(u && { u }),
    a,
    ...(e !== Infinity && { e }),
    ordinal: ordinal(),
    n: session.last,
    m: inflight.lastId,
    s: [...session.subscriptions.values()].map(recordedSubscription),
    ...(incoming.size > 0 && { q: [...incoming.keys()] }),
  }
  // Copies of all collections at this moment. The messages in them do not change, except when sent.
  const sent = [...inflight.values()].filter(({ packetId }) => !inflight.leases.has(packetId))
  const isWhole = session.hasOfGroups
  const waiting: Queued[] = isWhole ? [...unsent, ...session.backups].sort((a, b) => a.n - b.n) : []
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
