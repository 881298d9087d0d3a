import { locale } from '../texts/language.js'
import { say } from './words.js'

const formats = [0, 1].map(digits => {
  return new Intl.NumberFormat(locale, {
    style: 'percent',
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  })
})

/** Formats a part of a whole in per cent, never rounded up to 100 nor down to 0. */
export function shareText(part: number, whole: number): string {
  const [ones, tenths] = formats as [Intl.NumberFormat, Intl.NumberFormat]
  if (whole <= 0 || part <= 0) return ones.format(0)
  const share = part / whole
  if (share >= 1) return ones.format(1)
  if (share < 0.001) return say('share.under', { share: tenths.format(0.001) })
  if (share > 0.999) return say('share.over', { share: tenths.format(0.999) })
  return (share >= 0.1 && share < 0.99 ? ones : tenths).format(share)
}
