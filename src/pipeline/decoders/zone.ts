/** Clocks on the wall of one time zone, with its daylight saving. */
export class Zone {
  readonly name: string
  readonly #format: Intl.DateTimeFormat
  /** Offsets in microseconds by quarter of an hour: no zone changes within one. */
  readonly #offsets = new Map<number, number>()

  /** Throws RangeError when there is no such zone. */
  constructor(name: string) {
    this.name = name
    this.#format = new Intl.DateTimeFormat('en-US', {
      timeZone: name,
      hourCycle: 'h23',
      ...{ year: 'numeric', month: 'numeric', day: 'numeric', hour: 'numeric', minute: 'numeric', second: 'numeric' },
    })
  }

  /**
   * Returns the instant of a clock time that is written down as if it were UTC. Of the two instants in the hour that
   * comes twice in autumn, the later one that is not after `about`; a clock time that spring skips is moved on by an
   * hour. All in microseconds.
   */
  instantOf(local: number, about: number): number {
    const early = local - this.#offsetAt(local - dayMicros)
    const late = local - this.#offsetAt(local + dayMicros)
    const found = (early === late ? [early] : [early, late]).filter(one => one + this.#offsetAt(one) === local)
    if (found.length === 0) return Math.max(early, late)
    const notAfter = found.filter(one => one <= about + tolerance)
    return notAfter.length > 0 ? Math.max(...notAfter) : Math.min(...found)
  }

  #offsetAt(time: number): number {
    const quarter = Math.floor(time / quarterMicros)
    const known = this.#offsets.get(quarter)
    if (known !== undefined) return known
    const begin = (quarter * quarterMicros) / 1e3
    let offset = 0
    if (Math.abs(begin) < 8.64e15) {
      const parts = new Map(this.#format.formatToParts(begin).map(({ type, value }) => [type, Number(value)]))
      const at = (type: string) => parts.get(type as Intl.DateTimeFormatPartTypes) ?? 0
      const shown = Date.UTC(at('year'), at('month') - 1, at('day'), at('hour'), at('minute'), at('second'))
      offset = (shown - begin) * 1e3
    }
    if (this.#offsets.size >= maxOffsets) this.#offsets.clear()
    this.#offsets.set(quarter, offset)
    return offset
  }
}

const quarterMicros = 900e6
const dayMicros = 86_400e6
/** How far a device's clock may be ahead of the hub's. */
const tolerance = 300e6
const maxOffsets = 10_000

/** Returns the zone of this machine. */
export function machineZone(): string {
  return Intl.DateTimeFormat().resolvedOptions().timeZone
}
