/* How the sentences of alerts say numbers, times and names. */

/** Returns a number with four digits that matter, a true minus sign, and the unit. */
export function amount(value: number, unit: string | undefined): string {
  const rounded = Math.abs(value) >= 1_000 ? Math.round(value) : Number(value.toPrecision(4))
  const text =
    Math.abs(rounded) < 1e15 ? rounded.toLocaleString('en', { maximumSignificantDigits: 6 }) : String(rounded)
  return `${text.replace('-', '\u2212')}${unit === undefined ? '' : `${unit.startsWith('%') ? '\u202f' : ' '}${unit}`}`
}

const units = [
  [86_400e6, 'd'],
  [3_600e6, 'h'],
  [60e6, 'min'],
  [1e6, 's'],
] as const

/** Returns a duration in one unit or two: `11 min`, `1 h 30 min`. @param micros Microseconds */
export function span(micros: number): string {
  if (micros < 1e6) return `${Math.round(micros / 1e3)} ms`
  let seconds = Math.round(micros / 1e6)
  const parts: string[] = []
  for (const [size, name] of units) {
    const count = Math.floor(seconds / (size / 1e6))
    if (count > 0) parts.push(`${count} ${name}`)
    else if (parts.length > 0) break
    seconds -= count * (size / 1e6)
    if (parts.length === 2) break
  }
  return parts.join(' ')
}

/** Puts the first letter in upper case, unless the text begins with a topic. */
export function sentenceCase(text: string): string {
  const word = text.split(' ')[0] ?? ''
  return word.includes('/') ? text : text.charAt(0).toUpperCase() + text.slice(1)
}
