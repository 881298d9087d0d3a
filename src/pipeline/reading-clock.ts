import type { Quality } from '../model.js'
import type { Sample } from './decoders/sample.js'
import { machineZone, Zone } from './decoders/zone.js'

/** Before this time a device's clock was not set: 2000-01-01, where most real-time clocks begin. */
const earliest = 946_684_800e6
/** Most microseconds that a device's time may be ahead of the hub's. */
const ahead = 300e6
/** Age in microseconds beyond which a reading is late on arrival. */
const late = 60e6
/** How far the clock of a device in another time zone may be off, apart from the zone. */
const zoneTolerance = 150e6
const quarterHour = 900e6
const furthestZone = 14 * 3_600e6

/** The times of the samples of one message. */
export interface SampleTimes {
  /** Time of each sample, in microseconds since the epoch. */
  readonly times: readonly number[]
  readonly quality: Quality
  /** By how much the device's clock is wrong, in microseconds, where its time was not taken. */
  readonly clockError?: number
}

export interface SettableClock {
  /** Whether the hub's clock can be right: otherwise no time of a device is doubted. */
  isSet(): boolean
}

export interface ReadingClockOptions {
  readonly clock: SettableClock
  /** Time zone of clocks without one. `auto`: the machine's, or the zone that brings the clock next to the hub's. */
  readonly zone: string
}

/** Decides which time the samples of a message have: the device's, or that of receipt. */
export class ReadingClock {
  readonly #clock: SettableClock
  readonly #zone: Zone
  readonly #isAuto: boolean
  readonly #zones = new Map<string, Zone>()

  constructor({ clock, zone }: ReadingClockOptions) {
    this.#clock = clock
    this.#isAuto = zone === 'auto'
    this.#zone = new Zone(this.#isAuto ? machineZone() : zone)
  }

  /** @param zone Name of the zone that a rule gives */
  timesOf(samples: readonly Sample[], receivedAt: number, zone?: string): SampleTimes {
    const only = samples.length === 1 ? samples[0] : undefined
    if (only && !only.isLocal) {
      const { time } = only
      if (time === undefined) return { times: [receivedAt], quality: 'good' }
      if (time >= earliest && time <= receivedAt + ahead) {
        return { times: [time], quality: time < receivedAt - late ? 'late' : 'good' }
      }
    }
    const given = samples.some(({ isLocal }) => isLocal)
      ? this.#withZone(samples, receivedAt, zone)
      : samples.map(({ time }) => time)
    // A clock that is not set still runs. The newest time is moved to the time of receipt, and the other times of a
    // batch keep their distance to the newest.
    const newest = given.reduce<number>((latest, time = -Infinity) => Math.max(latest, time), -Infinity)
    const isWrong = newest > -Infinity && (newest < earliest || this.#isAhead(newest, receivedAt))
    const skew = isWrong ? receivedAt - newest : 0
    const times = given.map(time => (time === undefined ? receivedAt : time + skew))
    if (isWrong) return { times, quality: 'clock', clockError: newest - receivedAt }
    return { times, quality: times.some(time => time < receivedAt - late) ? 'late' : 'good' }
  }

  #isAhead(time: number, receivedAt: number): boolean {
    return time > receivedAt + ahead && this.#clock.isSet()
  }

  /** Returns the times with those of clocks without a zone as instants. */
  #withZone(samples: readonly Sample[], receivedAt: number, zone: string | undefined): (number | undefined)[] {
    const own = zone === undefined ? this.#zone : this.#named(zone)
    const local = samples.reduce(
      (latest, { time = -Infinity, isLocal }) => (isLocal ? Math.max(latest, time) : latest),
      -Infinity,
    )
    let instantOf = (time: number) => own.instantOf(time, receivedAt)
    if (zone === undefined && this.#isAuto && this.#clock.isSet()) {
      const offset = Math.round((local - receivedAt) / quarterHour) * quarterHour
      const isNear = (time: number) => Math.abs(time - receivedAt) <= zoneTolerance
      // A clock that is wrong by whole quarters of an hour is in another zone.
      if (!isNear(instantOf(local)) && Math.abs(offset) <= furthestZone && isNear(local - offset)) {
        instantOf = time => time - offset
      }
    }
    return samples.map(({ time, isLocal }) => (time !== undefined && isLocal ? instantOf(time) : time))
  }

  #named(name: string): Zone {
    let zone = this.#zones.get(name)
    if (!zone) {
      zone = new Zone(name)
      this.#zones.set(name, zone)
    }
    return zone
  }
}
