import { join } from 'node:path'
import { type Files, readWholeSync } from '../disk/files.js'
import { replaceFileSync } from '../disk/replace-file.js'
import type { MillisecondClock } from '../runtime/time.js'

/** A difference of the clocks up to this is a correction, in milliseconds; a larger one is a jump. */
const correctionMs = 3_600_000

/** Time for which a clock that has jumped ahead must go on before it is believed. */
const doubtMs = 86_400_000

/** Time between two saves. */
const saveEveryMs = 600_000

export interface ArchiveClockOptions {
  readonly dir: string
  /** Milliseconds since the epoch. */
  readonly wall: MillisecondClock
  /** Milliseconds of a clock that never jumps. */
  readonly monotonic: MillisecondClock
  readonly files: Files
}

/**
 * The time by which the archive expires. A wall clock that jumps ahead, or that is ahead after the hub did not run for a
 * while, is believed after a day only: a clock that was wrong for a minute must not delete a month. The state is in
 * `archive/time.json`.
 */
export class ArchiveClock {
  readonly #options: ArchiveClockOptions
  readonly #path: string
  /** Believed time, and the clocks when it was. */
  #believed = 0
  #wall = 0
  #ticks = 0
  /** Milliseconds for which the wall clock has been ahead. */
  #doubted = 0
  #savedAt = Number.NEGATIVE_INFINITY

  constructor(options: ArchiveClockOptions) {
    this.#options = options
    this.#path = join(options.dir, 'time.json')
  }

  start(): void {
    const { wall, monotonic, files } = this.#options
    const now = wall.now()
    this.#ticks = monotonic.now()
    this.#wall = this.#believed = now
    try {
      const kept = JSON.parse(readWholeSync(this.#path, files)?.toString() ?? '{}') as Record<string, unknown>
      const { believed, wall: before, doubted } = kept
      if (typeof believed !== 'number' || typeof before !== 'number' || typeof doubted !== 'number') return
      const passed = now - before
      const isUsual = passed >= 0 && passed <= correctionMs
      this.#believed = Math.min(believed + (isUsual ? passed : 0), now)
      this.#doubted = isUsual ? doubted : 0
    } catch {
      // A damaged file is as good as none: the clock of the machine is believed.
    }
  }

  /** Returns the believed time, in milliseconds since the epoch: never later than the wall clock. */
  now(): number {
    const { wall, monotonic } = this.#options
    const [now, ticks] = [wall.now(), monotonic.now()]
    const elapsed = ticks - this.#ticks
    const jump = now - this.#wall - elapsed
    this.#wall = now
    this.#ticks = ticks
    this.#believed += elapsed
    this.#doubted = Math.abs(jump) > correctionMs ? 0 : this.#doubted + elapsed
    const isAhead = now - this.#believed > correctionMs
    if (!isAhead || this.#doubted >= doubtMs) this.#believed = now
    if (!isAhead) this.#doubted = 0
    if (ticks - this.#savedAt >= saveEveryMs) this.save()
    return this.#believed
  }

  save(): void {
    this.#savedAt = this.#options.monotonic.now()
    const state = { believed: this.#believed, wall: this.#wall, doubted: this.#doubted }
    try {
      replaceFileSync(this.#path, `${JSON.stringify(state)}\n`, { files: this.#options.files })
    } catch {
      // The next save tries again; until then a restart believes the last state.
    }
  }
}
