import type { DeadLetter, Message, Outcome } from '../../model.js'

/* Messages that jobs over the past read, and the handler of messages that are handled again. */

/**
 * A range of received messages: from one time of receipt to another, in microseconds, on topics that match the filter.
 */
export interface Past {
  readonly from: number
  readonly to: number
  readonly topic: string | undefined
}

/** The messages that the spool has kept. */
export interface KeptMessages {
  /** Returns the messages of a range, in order, in batches. `total` is their approximate number. */
  past(past: Past, signal: AbortSignal): { total: number; batches: AsyncIterable<readonly Message[]> }
  /** Returns the messages above a sequence number, in order, in batches, as far as they are still there. */
  above(sequence: number, signal: AbortSignal): AsyncIterable<readonly Message[]>
}

/** Handles messages again. */
export interface ReplayHandler {
  /** Returns one outcome per message. Acknowledged messages are stored. */
  handle(messages: readonly Message[]): Promise<readonly Outcome[]>
  /** Returns one outcome per dead letter. Each goes where the message was going before the failure. */
  handleLetters(letters: readonly DeadLetter[]): Promise<readonly Outcome[]>
}
