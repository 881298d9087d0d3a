/**
 * The readings of devices: functions of seed and time alone, so a fleet with the same seed repeats the same readings.
 * Days are UTC days; noise comes from the seed.
 */

export type Payload = Readonly<Record<string, number | boolean>>

/** Returns the reading of the device with this seed at this time (milliseconds since the epoch). */
export type Profile = (seed: number, time: number) => Payload

export const profileNames = ['thermostat', 'meter', 'door', 'motion', 'air', 'light'] as const
export type ProfileName = (typeof profileNames)[number]

const second = 1_000
const minute = 60 * second
const hour = 60 * minute
const day = 24 * hour

/** A room heated to a set point, lower at night; the temperature follows slowly and swings a little around that. */
export const thermostat: Profile = (seed, time) => {
  const setpoint = isBetween(time, 6, 22) ? 21 : 17.5
  // The set points of the last hour and a half: a room has inertia.
  const followed = [0, 30, 60, 90].map(ago => (isBetween(time - ago * minute, 6, 22) ? 21 : 17.5))
  const temperature =
    followed.reduce((sum, value) => sum + value, 0) / followed.length + 0.4 * wave(seed, time, 25 * minute)
  return {
    temperature: round(temperature + 0.1 * noise(seed, time, 20 * second), 2),
    setpoint,
    humidity: round(46 + 6 * wave(seed + 1, time, 5 * hour) + noise(seed + 1, time, minute), 1),
    heating: temperature < setpoint,
  }
}

/** A house connection: a base load, a morning and a larger evening peak, a kettle now and then. */
export const meter: Profile = (seed, time) => {
  const kettle = chance(seed, time, 3 * minute) < 0.12 ? 1_900 : 0
  const load = dayLoad(dayOf(time)) * (0.8 + 0.4 * share(seed)) + kettle
  const power = Math.max(40, load * (1 + 0.06 * noise(seed, time, 5 * second)))
  const voltage = 230 + 3 * wave(seed + 2, time, 40 * minute) + 0.6 * noise(seed + 2, time, 5 * second)
  return {
    power: round(power, 1),
    voltage: round(voltage, 1),
    current: round(power / voltage, 2),
    energy: round(energy(time) * (0.8 + 0.4 * share(seed)), 3),
  }
}

/** A door, opened for part of a minute, more often by day. */
export const door: Profile = (seed, time) => ({
  open: isBusy(seed, time, 4 * minute, 0.3) && inBucket(time, 4 * minute) < 20 * second + 40 * second * share(seed + 3),
  battery: battery(seed, time),
})

/** A motion sensor that detects a person for a while, more often by day; also measures the light. */
export const motion: Profile = (seed, time) => ({
  motion: isBusy(seed, time, 90 * second, 0.45) && inBucket(time, 90 * second) < 25 * second,
  illuminance: Math.round(Math.max(2, 900 * daylight(time) * (1 + 0.15 * noise(seed, time, minute)))),
  battery: battery(seed, time),
})

/** A room with people: carbon dioxide climbs until a window is opened. */
export const air: Profile = (seed, time) => {
  const peopled = isBetween(time, 7, 23) ? 1 : 0.55
  const climb = inBucket(time + share(seed) * 2 * hour, 2 * hour) / (2 * hour)
  return {
    co2: Math.round(430 + 750 * peopled * Math.sqrt(climb) + 12 * noise(seed, time, 15 * second)),
    pm25: round(Math.max(0.5, 6 + 4 * wave(seed, time, 3 * hour) + noise(seed + 4, time, 30 * second)), 1),
    temperature: round(21.5 + 1.2 * wave(seed + 5, time, day) + 0.1 * noise(seed + 5, time, 20 * second), 2),
    humidity: round(48 + 7 * wave(seed + 6, time, 7 * hour) + noise(seed + 6, time, minute), 1),
  }
}

/** A light, on in the evening and dimmed later, until commanded otherwise. */
export const light: Profile = (seed, time) => {
  const evening = isBetween(time, 17, 23) && chance(seed, time, 30 * minute) < 0.85
  return lightState(evening, isBetween(time, 21, 23) ? 40 : 80)
}

/** Returns the report of a light in this state. */
export function lightState(on: boolean, brightness: number): Payload {
  return { on, brightness: on ? brightness : 0, power: on ? round(0.4 + brightness * 0.09, 2) : 0.4 }
}

export const profiles: Readonly<Record<ProfileName, Profile>> = { thermostat, meter, door, motion, air, light }

/** Interval of a device's own reports, in milliseconds. */
export const naturalInterval: Readonly<Record<ProfileName, number>> = {
  thermostat: 5 * second,
  meter: second,
  door: minute,
  motion: 30 * second,
  air: 5 * second,
  light: 30 * second,
}

/** The field whose change is an event that is reported at once, beside the regular reports. */
export const eventField: Readonly<Partial<Record<ProfileName, string>>> = { door: 'open', motion: 'motion' }

/** Returns watts at a share of the day: night base, a morning peak at 7, an evening peak at 19. */
function dayLoad(share: number): number {
  return 260 - 120 * Math.cos(4 * Math.PI * (share - 1 / 24)) - 100 * Math.cos(2 * Math.PI * (share - 1 / 24))
}

/** Returns kilowatt hours since the year 2020: the integral of {@link dayLoad}, so the counter never runs back. */
function energy(time: number): number {
  const days = (time - Date.UTC(2020, 0, 1)) / day
  const swing = (share: number) =>
    -(120 / (4 * Math.PI)) * Math.sin(4 * Math.PI * (share - 1 / 24)) -
    (100 / (2 * Math.PI)) * Math.sin(2 * Math.PI * (share - 1 / 24))
  return ((260 * days + swing(dayOf(time)) - swing(0)) * 24) / 1_000
}

function daylight(time: number): number {
  return Math.max(0, Math.sin(2 * Math.PI * (dayOf(time) - 0.25)))
}

/** Returns the charge of a battery in percent. */
export function battery(seed: number, time: number): number {
  return round(100 - ((time / day + 300 * share(seed)) % 365) * 0.2, 1)
}

/** Returns whether something happens in this bucket: with probability `likely` by day, a third of that at night. */
function isBusy(seed: number, time: number, bucket: number, likely: number): boolean {
  return chance(seed, time, bucket) < (isBetween(time, 6, 23) ? likely : likely / 3)
}

/** Returns a number in [0, 1) that stays the same throughout a bucket of time. */
function chance(seed: number, time: number, bucket: number): number {
  return hash(seed, Math.floor(time / bucket))
}

/** Returns smooth noise from -1 to 1, with new values every `bucket`. */
export function noise(seed: number, time: number, bucket: number): number {
  const at = Math.floor(time / bucket)
  const between = inBucket(time, bucket) / bucket
  const eased = between * between * (3 - 2 * between)
  return 2 * (hash(seed, at) * (1 - eased) + hash(seed, at + 1) * eased) - 1
}

/** Returns a sine with this period, each seed in a different phase. */
export function wave(seed: number, time: number, period: number): number {
  return Math.sin(2 * Math.PI * (time / period + share(seed)))
}

function share(seed: number): number {
  return hash(seed, 0)
}

/** Maps two whole numbers to [0, 1): the mixing step of MurmurHash3. */
function hash(seed: number, n: number): number {
  let h = Math.imul(seed, 0x9e3779b1) ^ Math.imul(n, 0x85ebca6b) ^ Math.imul(Math.floor(n / 2 ** 32), 0xc2b2ae35)
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return ((h ^ (h >>> 16)) >>> 0) / 2 ** 32
}

function dayOf(time: number): number {
  return inBucket(time, day) / day
}

function inBucket(time: number, bucket: number): number {
  return time - Math.floor(time / bucket) * bucket
}

function isBetween(time: number, fromHour: number, toHour: number): boolean {
  const hours = dayOf(time) * 24
  return hours >= fromHour && hours < toHour
}

/** Rounds to so many decimals. */
export function round(value: number, digits: number): number {
  return Number(value.toFixed(digits))
}
