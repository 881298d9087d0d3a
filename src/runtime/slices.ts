/** Milliseconds of work between two turns of the event loop, unless told otherwise. */
const usualSliceMs = 5

/**
 * Long work in slices: once a slice is over, whoever works awaits a turn of the event loop. The time is looked at once
 * in a while only, as steps are short.
 */
export class Slices {
  readonly #sliceMs: number
  readonly #goesOn: () => void
  readonly #work: { readonly isHurried: boolean } | undefined
  #steps = 0
  #since = performance.now()

  /**
   * `goesOn` is called after each turn, and throws when the work is to be given up. While `work.isHurried`, other work
   * has several turns between two slices.
   */
  constructor(sliceMs = usualSliceMs, goesOn: () => void = () => {}, work?: { readonly isHurried: boolean }) {
    this.#sliceMs = sliceMs
    this.#goesOn = goesOn
    this.#work = work
  }

  /** Returns, after each step of the work, whether to await {@link turn}. */
  get isOver(): boolean {
    if (++this.#steps % stepsBetween !== 0) return false
    return performance.now() - this.#since >= this.#sliceMs
  }

  /** Lets input, output and timers have a turn. Rejects when the work is to be given up. */
  async turn(): Promise<void> {
    let turns = 0
    do await new Promise(resolve => setImmediate(resolve))
    while (this.#work?.isHurried && ++turns < hurriedTurns)
    this.#goesOn()
    this.#since = performance.now()
  }
}

/** Long work as in {@link Slices} that leaves at least half of the thread to others: it rests as long as it works. */
export class RestedSlices {
  readonly #goesOn: () => void
  #steps = 0
  #since = performance.now()

  /** `goesOn` is called after each rest, and throws when the work is to be given up. */
  constructor(goesOn: () => void = () => {}) {
    this.#goesOn = goesOn
  }

  /** Returns, after each step of the work, whether to await {@link turn}. */
  get isOver(): boolean {
    return ++this.#steps % stepsBetween === 0 && performance.now() - this.#since >= usualSliceMs
  }

  /** Rests. Rejects when the work is to be given up. */
  async turn(): Promise<void> {
    const worked = performance.now() - this.#since
    await new Promise(resolve => setTimeout(resolve, Math.ceil(worked)))
    this.#goesOn()
    this.#since = performance.now()
  }
}

/** Turns of the event loop between two slices while other work is in a hurry. */
const hurriedTurns = 16

/** Steps between two looks at the time. */
const stepsBetween = 8
