import type { HomeDevice, HomeValue } from '../home/catalogue.js'
import { nameOf } from '../home/format.js'
import { nameText } from '../wording.js'

interface SeriesLabel {
  readonly name: string
  /** Name of the device, if that is known. */
  readonly device?: string
  readonly spec: Partial<HomeValue>
}

/** Returns how people call a series: as a value of a device, else by the field, with which its key ends. */
export function labelOf(series: string, devices: readonly HomeDevice[]): SeriesLabel {
  for (const device of devices) {
    const value = device.values.find(one => one.series === series)
    if (value) return { name: nameOf(value), device: nameText(device.name), spec: value }
  }
  const at = series.lastIndexOf(' ')
  return { name: nameText(at < 0 ? series : `${series.slice(at + 1)} · ${series.slice(0, at)}`), spec: {} }
}
