/** How far everything was at one time: sequence numbers up to which all messages had passed. */
interface ProgressSample {
  /** Milliseconds since the epoch. */
  readonly at: number
  readonly onDisk: number
  readonly drained: number
  readonly settled: number
}

/** Time between two samples, and most that are kept: an hour under constant traffic. */
const everyMs = 1_000
const mostSamples = 3_600

/** Notes how far messages had passed, in memory, so that the time of a hop is known to about a second. */
export class ProgressBook {
  readonly #samples: ProgressSample[] = []

  /** Notes the state of now, unless the last one is younger than a second. */
  note(sample: ProgressSample): void {
    const last = this.#samples.at(-1)
    if (last && sample.at - last.at < everyMs && sample.at >= last.at) return
    this.#samples.push(sample)
    if (this.#samples.length > mostSamples) this.#samples.splice(0, mostSamples >> 2)
  }

  /**
   * Returns when a message passed: not before `after`, and no later than `before`, in milliseconds. Undefined where no
   * sample tells.
   */
  passed(what: 'onDisk' | 'drained' | 'settled', sequence: number) {
    const first = this.#samples.findIndex(sample => sample[what] >= sequence)
    const before = this.#samples[first]?.at
    const after = this.#samples[(first < 0 ? this.#samples.length : first) - 1]?.at
    return { after, before }
  }
}
