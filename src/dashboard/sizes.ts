import { locale } from './texts/language.js'

const units = ['byte', 'kilobyte', 'megabyte', 'gigabyte', 'terabyte'] as const

/** Returns a number of bytes in the largest unit of which there is one. */
export function sizeText(bytes: number): string {
  let at = 0
  let value = bytes
  while (value >= 1_000 && at < units.length - 1) {
    value /= 1_000
    at++
  }
  const style = { style: 'unit', unit: units[at] ?? 'byte', unitDisplay: at === 0 ? 'long' : 'short' } as const
  return new Intl.NumberFormat(locale, { ...style, maximumFractionDigits: at === 0 ? 0 : 1 }).format(value)
}

const rates = new Intl.NumberFormat(locale, { maximumFractionDigits: 1 })

export function rateText(perSecond: number): string {
  return rates.format(perSecond)
}
