/** Sentences of alerts, in the words of the page. */

import type { AlertRow } from '../api.js'
import { alertText } from '../said/said.js'
import { language } from '../texts/language.js'
import { nameText } from '../wording.js'
import type { HomeDevice } from './catalogue.js'
import { nameOf } from './format.js'

/** Returns what an alert of a series is about, in the language of the page. Undefined in English, or when that is unknown. */
function labelOf(devices: readonly HomeDevice[], series: string): string | undefined {
  if (language === 'en' || series === '') return undefined
  for (const device of devices) {
    const value = device.values.find(one => one.series === series)
    if (value) return `${nameText(device.name)} · ${nameOf(value)}`
  }
  return undefined
}

/** Returns the newest sentence of an alert. */
export function sentenceText(
  row: Pick<AlertRow, 'sentence' | 'said' | 'series'>,
  devices: readonly HomeDevice[],
): string {
  return nameText(alertText(row, labelOf(devices, row.series)))
}
