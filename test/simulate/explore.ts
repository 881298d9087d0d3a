import { type Faults, Violation, World } from './model.js'

export interface Failure {
  readonly seed: number
  readonly steps: number
  readonly violation: string
  /** The events of the shortest run of this seed that ends in a violation. */
  readonly trace: readonly string[]
}

/** Lengths of runs: short ones first, as their traces are the ones to read. */
const lengths = [50, 100, 200, 400, 800] as const

/** Runs a seed in one length. Returns what went wrong. */
export function runSeed(seed: number, steps: number, faults: Faults = {}): Failure | undefined {
  const world = new World(seed, faults)
  try {
    for (let n = 0; n < steps; n++) world.step()
    world.settle()
    return undefined
  } catch (error) {
    if (!(error instanceof Violation)) throw error
    return { seed, steps, violation: error.message, trace: world.trace }
  }
}

/** Runs seeds in order. Returns the first failure, in the shortest run of that seed that fails. */
export function explore(from: number, to: number, faults: Faults = {}): Failure | undefined {
  for (let seed = from; seed < to; seed++) {
    const steps = lengths[seed % lengths.length] as number
    const failure = runSeed(seed, steps, faults)
    if (failure) return shortest(failure, faults)
  }
  return undefined
}

function shortest(found: Failure, faults: Faults): Failure {
  const best = found
  for (let steps = 1; steps < best.steps; steps = Math.ceil(steps * 1.3)) {
    const shorter = runSeed(found.seed, steps, faults)
    if (shorter) return shorter
  }
  return best
}

export function told({ seed, steps, violation, trace }: Failure): string {
  return [`seed ${seed}, ${steps} steps: ${violation}`, ...trace.map(line => `  ${line}`)].join('\n')
}
