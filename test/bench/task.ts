/** What a load generator does, in a process of its own: see generator.ts. */
export interface Task {
  /** Resolves when all of its connections are there, and subscribed. */
  prepare(): Promise<void>
  /** Begins to load. */
  run(): void
  /** Resolves when there is nothing more to do; a task without it goes on until it is stopped. */
  readonly done?: Promise<void>
  /** The last it does; its connections are closed behind it. */
  end?(): void
  /** What was counted so far, by name. */
  counts(): Readonly<Record<string, number>>
  readonly latencies?: Latencies
}

/** In milliseconds. */
export interface Distribution {
  readonly samples: number
  readonly p50: number
  readonly p99: number
  readonly max: number
}

/** Collects times in microseconds; past its room it forgets the newest. */
export class Latencies {
  readonly #micros = new Float64Array(500_000)
  #count = 0

  add(micros: number): void {
    if (this.#count < this.#micros.length) this.#micros[this.#count++] = micros
  }

  clear(): void {
    this.#count = 0
  }

  summary(): Distribution | undefined {
    return this.#count === 0 ? undefined : distribution(this.#micros.subarray(0, this.#count))
  }
}

/** Of times in microseconds, at least one; they are sorted in place. */
export function distribution(micros: Float64Array): Distribution {
  micros.sort()
  const at = (part: number) => (micros[Math.min(micros.length - 1, Math.floor(micros.length * part))] as number) / 1_000
  return { samples: micros.length, p50: at(0.5), p99: at(0.99), max: at(1) }
}
