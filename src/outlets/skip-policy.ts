import type { OutletLimit } from './plan.js'

/** Part of a segment of the spool that matters here. */
interface HeldSegment {
  readonly segment: number
  readonly bytes: number
  /** When the last message before the segment was received, in microseconds. */
  readonly before: number
}

export interface SkipCase {
  /** The segments of the spool, the oldest first. */
  readonly segments: readonly HeldSegment[]
  /** The segment that the outlet reads, and the oldest that anybody needs who gives up nothing. */
  readonly place: number
  readonly others: number
  /** Bytes from the outlet's place on. */
  readonly bytesBehind: number
  readonly limit: OutletLimit | undefined
  /** Limit of the spool, in bytes. */
  readonly spoolLimit: number
  /** Microseconds since the epoch. */
  readonly now: number
}

/** Share of the spool's limit from which on room is made: devices are refused at the whole. */
const fullShare = 0.9

/**
 * Returns the segment to which an outlet is to skip: the nearest that brings the outlet within the limit, or that makes
 * room in a spool that is nearly full. Undefined: none, or skipping would not help.
 */
export function skipTarget({ segments, place, others, bytesBehind, limit, spoolLimit, now }: SkipCase) {
  const ahead = segments.filter(({ segment }) => segment > place)
  let target = place
  if (limit && 'bytes' in limit && bytesBehind > limit.bytes) {
    let left = ahead.reduce((sum, { bytes }) => sum + bytes, 0)
    for (const { segment, bytes } of ahead) {
      target = Math.max(target, segment)
      if (left <= limit.bytes) break
      left -= bytes
    }
  }
  if (limit && 'ms' in limit) {
    for (const { segment, before } of ahead) if (before < now - limit.ms * 1_000) target = Math.max(target, segment)
  }
  let all = segments.reduce((sum, { bytes }) => sum + bytes, 0)
  for (const { segment, bytes } of segments) {
    // Segments that others need stay, whatever this outlet gives up.
    if (all < spoolLimit * fullShare || segment >= others) break
    all -= bytes
    const next = segments.find(other => other.segment > segment)
    if (next && segment >= place) target = Math.max(target, Math.min(next.segment, others))
  }
  return target > place ? target : undefined
}

/** Returns whether an outlet is beyond a limit. `oldest`: when the first message in hand was received. */
export function isBeyond(limit: OutletLimit, bytesBehind: number, oldest: number, now: number): boolean {
  return 'bytes' in limit ? bytesBehind > limit.bytes : oldest < now - limit.ms * 1_000
}
