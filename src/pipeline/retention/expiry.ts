import { type KeepTimes, keepTimes, tiers } from '../../config/settings.js'
import type { SentenceLog } from '../../observe/log.js'
import { pause } from '../../runtime/retry.js'
import { Slices } from '../../runtime/slices.js'
import type { DropRow, DropSlice, RetentionClass, StoreRetention, TierTimes } from '../../store/store.js'
import type { KeepRules } from './keep-rules.js'

const dayUs = 86_400_000_000

/** Pause before a shorter time acts, so that a mistake can be taken back. */
export const graceUs = 3_600_000_000

/** Days that the limit never takes: today and the day before. */
const daysLeft = 1

/**
 * Free bytes, and share of the files, from which on the files are made smaller; and the share that is left. A third is
 * usual, and is filled before the files grow.
 */
const worthPacking = 64e6
const shareWorthPacking = 0.4
const shareLeft = 0.1
/** Turns without a gain after which packing ends for now. */
const idleTurns = 16

/** Readings whose deletion must show in the size. */
const worthGain = 1_000_000

const seriesPerPage = 10_000

export interface ExpiryOptions {
  readonly store: StoreRetention
  readonly rules: KeepRules
  /** Bytes of the store; 0: no limit. */
  readonly limit: number
  /** Least pause between two turns, in milliseconds. */
  readonly pauseMs?: number
  readonly log: SentenceLog
}

/** Deletes what an embedded store has kept long enough, in turns, and gives the room back to the disk. */
export class Expiry {
  readonly #options: ExpiryOptions
  readonly #abort = new AbortController()
  /** When all series were gone through, in microseconds since the epoch. */
  #wholeAt = Number.NEGATIVE_INFINITY

  constructor(options: ExpiryOptions) {
    this.#options = options
  }

  /** Ends a pass after the turn that runs just now. */
  stop(): void {
    this.#abort.abort()
  }

  /**
   * Makes one pass: puts new series into classes, deletes what is too old, then what is beyond the limit, and packs.
   *
   * @param now Trusted time, in microseconds since the epoch.
   */
  async pass(now: number): Promise<void> {
    const { store } = this.#options
    const classes = await this.#assign(now)
    const before = sumOf(await store.dropped())
    for (const one of classes) if (now >= one.since + graceUs) await this.#expire(one, now)
    if (sumOf(await store.dropped()).size > 0) await this.#turn(() => store.settle())
    await this.#fit(now)
    await this.#pack()
    this.#tell(before, await store.dropped())
  }

  /** Puts series into classes, and begins those that the settings of now need. Resolves with all classes. */
  async #assign(now: number): Promise<readonly RetentionClass[]> {
    const { store, rules } = this.#options
    const { classes: known, assigned } = await store.state()
    const classes = new Map(known.map(one => [one.id, one]))
    const usual = classes.get(0)
    const isShorter = usual === undefined || shortens(usual.keep, rules.usual)
    const first = { id: 0, keep: rules.usual, since: isShorter ? now : usual.since, from: usual?.from ?? {} }
    const changed = new Map<number, RetentionClass>()
    const begun = new Map<number, RetentionClass>()
    if (usual?.keep !== first.keep) changed.set(0, first)
    classes.set(0, first)
    // A change of a rule comes with a new start of this thread, so all series are gone through once; and once a day, as
    // series are renamed.
    const isWhole = Math.abs(now - this.#wholeAt) >= dayUs && (rules.hasTimes || known.length > 1)
    let after = isWhole ? 0 : assigned
    const slices = new Slices()
    for (;;) {
      const page = await store.series(after, seriesPerPage)
      const members: [number, number][] = []
      for (const { id, retentionClass, series } of page) {
        if (slices.isOver) await slices.turn()
        const keep = rules.of(series)
        const before = classes.get(retentionClass)
        if (keep === undefined && retentionClass === 0) continue
        if (retentionClass !== 0 && before?.keep === (keep ?? rules.usual)) continue
        const to = classFor(classes, { keep, isNew: id > assigned, before, now })
        if (!classes.has(to.id)) changed.set(to.id, to)
        classes.set(to.id, to)
        members.push([id, to.id])
      }
      after = page.at(-1)?.id ?? after
      if (page.length === 0 && changed.size === 0) break
      await store.change({ classes: [...changed.values()], members, assigned: Math.max(assigned, after), seen: now })
      for (const one of changed.values()) begun.set(one.id, one)
      changed.clear()
      if (this.#abort.signal.aborted) break
      if (page.length < seriesPerPage) break
    }
    await store.change({ seen: now })
    for (const one of begun.values()) await this.#announce(one, now)
    if (isWhole) this.#wholeAt = now
    return [...classes.values()]
  }

  /** Says beforehand what will go. */
  async #announce({ id, keep, since }: RetentionClass, now: number): Promise<void> {
    const { store, log } = this.#options
    const at = new Date((since + graceUs) / 1_000).toISOString().slice(0, 16)
    for (const tier of tiers) {
      const ms = keepTimes(keep)?.[tier] ?? Number.POSITIVE_INFINITY
      if (ms === Number.POSITIVE_INFINITY) continue
      const slices = await store.plan(tier, id, cutoff(now, ms))
      if (slices.length === 0) continue
      log.warn(
        `from ${at}Z on ${countOf(slices)} readings (${tier}) of ${span(slices)} are deleted, as they are kept for ${keep} ` +
          `(${id === 0 ? 'store.keep' : 'keep of a mapping rule'}); change that before, to keep them`,
      )
    }
  }

  async #expire(one: RetentionClass, now: number): Promise<void> {
    const { store } = this.#options
    const times: KeepTimes = keepTimes(one.keep) ?? {}
    // The finer goes first: a roll-up is what is left then.
    let reached = Number.POSITIVE_INFINITY
    for (const tier of tiers) {
      const ms = times[tier] ?? Number.POSITIVE_INFINITY
      if (ms === Number.POSITIVE_INFINITY || this.#abort.signal.aborted) return
      const before = Math.min(cutoff(now, ms), reached)
      const isWhole = await this.#drop(await store.plan(tier, one.id, before), 'age', now)
      if (isWhole) reached = before
      else
        reached = (await store.state()).classes.find(({ id }) => id === one.id)?.from[tier] ?? Number.NEGATIVE_INFINITY
    }
  }

  /** Deletes the oldest days of raw readings of all series, until the store is within the limit. */
  async #fit(now: number): Promise<void> {
    const { store, limit } = this.#options
    let { used } = await store.size()
    if (limit === 0 || used <= limit) return
    const days = new Map<number, DropSlice[]>()
    for (const slice of await store.plan('raw', undefined, cutoff(now, daysLeft * 864e5))) {
      const day = Math.floor(slice.from / dayUs)
      days.set(day, [...(days.get(day) ?? []), slice])
    }
    for (const slices of days.values()) {
      if (this.#abort.signal.aborted || used <= limit) return
      if (!(await this.#drop(slices, 'limit', now))) return
      await this.#turn(() => store.settle())
      const before = used
      used = (await store.size()).used
      // Where a deletion gains nothing, more deletions would not, either: the next pass looks again.
      if (used >= before && countOf(slices) > worthGain) return
    }
  }

  /** Resolves with whether all of them are deleted; the others may not go yet. */
  async #drop(slices: readonly DropSlice[], why: 'age' | 'limit', now: number): Promise<boolean> {
    for (const slice of slices) {
      if (this.#abort.signal.aborted) return false
      if ((await this.#turn(() => this.#options.store.drop(slice, why, floorDay(now)))) === undefined) return false
    }
    return true
  }

  async #pack(): Promise<void> {
    const { store } = this.#options
    const begin = await store.size()
    if (begin.bytes - begin.used < Math.max(worthPacking, begin.bytes * shareWorthPacking)) return
    let size = begin
    let least = begin.bytes
    // A turn makes the file longer before the next one cuts it: only a new least size is a gain.
    for (let idle = 0; idle < idleTurns && !this.#abort.signal.aborted; idle++) {
      await this.#turn(() => store.pack())
      size = await store.size()
      if (size.bytes < least) idle = -1
      least = Math.min(least, size.bytes)
      if (size.bytes - size.used < size.bytes * shareLeft) break
    }
    const given = Math.round((begin.bytes - size.bytes) / 1e6)
    if (given > 0)
      this.#options.log.info(`the store gave ${given} MB back to the disk, and has ${Math.round(size.bytes / 1e6)} MB`)
  }

  /** Runs one turn, and then leaves the store to the others for twice as long. */
  async #turn<T>(work: () => Promise<T>): Promise<T> {
    const began = performance.now()
    const result = await work()
    const ms = Math.max(this.#options.pauseMs ?? 50, 2 * (performance.now() - began))
    await pause(ms, this.#abort.signal)
    return result
  }

  #tell(before: ReadonlyMap<string, number>, rows: readonly DropRow[]): void {
    for (const { tier, why, day, readings, first, last } of rows) {
      const fresh = readings - (before.get(`${day} ${tier} ${why}`) ?? 0)
      if (fresh === 0) continue
      const reason = why === 'age' ? 'as they were kept long enough' : 'as the store was at store.limit'
      this.#options.log.info(
        `${fresh} readings (${tier}) were deleted, ${reason}; those of this day are from ${dayText(first)} to ${dayText(last)}`,
      )
    }
  }
}

function sumOf(rows: readonly DropRow[]): ReadonlyMap<string, number> {
  return new Map(rows.map(({ day, tier, why, readings }) => [`${day} ${tier} ${why}`, readings]))
}

/** A series that changes into another class. */
interface Mover {
  /** Undefined: as all. */
  readonly keep: string | undefined
  readonly isNew: boolean
  /** The class of before. */
  readonly before: RetentionClass | undefined
  readonly now: number
}

/** Returns a class with these times; a new one where none fits. */
function classFor(classes: ReadonlyMap<number, RetentionClass>, { keep, isNew, before, now }: Mover): RetentionClass {
  const usual = classes.get(0) as RetentionClass
  const from: TierTimes = before?.from ?? {}
  const least = Number.NEGATIVE_INFINITY
  const text = keep ?? usual.keep
  const isCovered = tiers.every(tier => (from[tier] ?? least) <= (usual.from[tier] ?? least))
  // Back among all others at once only if that takes nothing; else in another class, which has a time of grace.
  if (keep === undefined && isCovered && !shortens(before?.keep ?? text, text)) return usual
  const isSame = (one: RetentionClass) => tiers.every(tier => one.from[tier] === from[tier])
  // What a series has lost by the old class stays lost, also when the new one keeps longer.
  const fits = (one: RetentionClass) => isNew || (one.since === now && isSame(one))
  const found = [...classes.values()].find(one => one.id !== 0 && one.keep === text && fits(one))
  return found ?? { id: Math.max(...classes.keys()) + 1, keep: text, since: now, from: isNew ? {} : from }
}

/** Returns the beginning of the day (UTC) before which readings are too old. */
export function cutoff(now: number, keptMs: number): number {
  return floorDay(now - keptMs * 1_000)
}

function floorDay(time: number): number {
  return Math.floor(time / dayUs) * dayUs
}

function shortens(from: string, to: string): boolean {
  const [before, after] = [keepTimes(from) ?? {}, keepTimes(to) ?? {}]
  const of = (times: KeepTimes, tier: keyof KeepTimes) => times[tier] ?? Number.POSITIVE_INFINITY
  return tiers.some(tier => of(after, tier) < of(before, tier))
}

function countOf(slices: readonly DropSlice[]): number {
  return slices.reduce((sum, { readings }) => sum + readings, 0)
}

function span(slices: readonly DropSlice[]): string {
  return `${dayText(slices[0]?.from ?? 0)} to ${dayText((slices.at(-1)?.to ?? 1) - 1)}`
}

function dayText(time: number): string {
  return new Date(time / 1_000).toISOString().slice(0, 10)
}
