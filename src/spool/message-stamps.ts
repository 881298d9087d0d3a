/** A clock that goes back by less is being corrected: times ascend in small steps until the clock catches up. */
const correctedMicros = 1e6

/** The numbers and times that messages get, in microseconds since the epoch. */
export class MessageStamps {
  /** Number of the last message. */
  sequence = 0
  /** Number of the last message that is committed, or refused. */
  settledSequence = 0
  /** Stamp of the last message, strictly ascending whatever the clock does. */
  receivedAt = 0
  /** Time of the last message, which is the time of a reading without its own. */
  time = 0
  /** Stamps of the last message in the group that is being written, and of the last one committed. */
  #takenAt = 0
  committedAt = 0

  /** Gives the next message a number, a stamp and a time. */
  next(now: number): void {
    this.sequence++
    // No two messages have the same time, also within a millisecond, and while a clock is corrected a little.
    this.time = now > this.time || this.time - now > correctedMicros ? now : this.time + 1
    this.receivedAt = Math.max(this.receivedAt + 1, this.time)
  }

  /** Called when all messages so far are being written as a group. */
  taken(): void {
    this.#takenAt = this.receivedAt
  }

  /** Called when a group is written, or refused. */
  settled(messages: number, isCommitted: boolean): void {
    this.settledSequence += messages
    if (isCommitted) this.committedAt = this.#takenAt
  }

  /** Goes on behind a number and a stamp. */
  restore(sequence: number, receivedAt: number): void {
    this.sequence = this.settledSequence = sequence
    this.receivedAt = this.committedAt = receivedAt
  }
}
