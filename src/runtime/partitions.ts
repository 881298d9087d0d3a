import { createHash } from 'node:crypto'

/** Longest name of a folder, in bytes, that each file system takes, without `measurement=`. */
const longest = 200

/**
 * Returns the folders, one in the other, for the readings of a measurement on a day of UTC: `measurement=NAME/day=DATE`,
 * as Hive and DuckDB name partitions. A long name is cut, and has a hash of the whole one behind `%~`, which no other name
 * contains.
 *
 * @param day Milliseconds since the epoch, at any time of the day.
 */
export function partitionOf(measurement: string, day: number): readonly [measurement: string, day: string] {
  const encoded = encodeURIComponent(measurement)
  const hash = () => createHash('sha256').update(measurement).digest('hex').slice(0, 16)
  const name = encoded.length <= longest ? encoded : `${encoded.slice(0, longest - 18)}%~${hash()}`
  return [`measurement=${name}`, `day=${new Date(day).toISOString().slice(0, 10)}`]
}
