/** Seconds that each file took, by the clock and of processor time. */
export type FileTimes = ReadonlyMap<string, readonly [seconds: number, processorSeconds: number]>

/** Seconds that are expected of a file of which nothing is known. */
const unknownSeconds = 20

/** A file mostly waits when it takes at most this part of its time from a processor. It may run beside busy ones. */
const waitingPart = 0.3

/**
 * The test files that are still to be run, the longest first: the last of them would otherwise run alone at the end, with
 * one processor idle.
 */
export class FileQueue {
  readonly #busy: string[]
  readonly #waiting: string[]

  /** Files of which nothing is known stay in the order given. */
  constructor(files: readonly string[], times: FileTimes = new Map()) {
    const secondsOf = (file: string) => times.get(file)?.[0] ?? unknownSeconds
    const waits = (file: string) => {
      const [seconds, processorSeconds] = times.get(file) ?? [0, 0]
      return seconds > 0 && processorSeconds <= seconds * waitingPart
    }
    const sorted = [...files].sort((a, b) => secondsOf(b) - secondsOf(a))
    this.#busy = sorted.filter(file => !waits(file))
    this.#waiting = sorted.filter(waits)
  }

  /** Takes the next file; those that mostly wait come last. */
  next(): string | undefined {
    return this.#busy.shift() ?? this.#waiting.shift()
  }

  /** Takes the next file of those that mostly wait. */
  nextThatWaits(): string | undefined {
    return this.#waiting.shift()
  }
}
