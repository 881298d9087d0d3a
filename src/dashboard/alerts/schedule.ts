/** Parts of the week, as rules write them: `mon-fri 08:00-18:00`. */

export const dayKeys = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'] as const

export interface WeekSpan {
  /** From 0 (Monday) to 6; all of them: every day. */
  readonly days: readonly number[]
  /** `08:00`; both empty: the whole day. */
  readonly from: string
  readonly to: string
}

const everyDay = [0, 1, 2, 3, 4, 5, 6]

/** Reads a part of the week. Undefined for a text that the page cannot show as days and times. */
export function weekSpanOf(text: string): WeekSpan | undefined {
  if (text === 'never') return { days: [], from: '', to: '' }
  const found = /^\s*([a-z,\s-]*?)\s*(?:(\d\d?:\d\d)\s*-\s*(\d\d?:\d\d))?\s*$/i.exec(text)
  if (!found || (found[1] === '' && found[2] === undefined)) return undefined
  const days = new Set<number>()
  for (const part of found[1] === '' ? [] : (found[1] ?? '').toLowerCase().split(',')) {
    const [first, last = first, ...more] = part.split('-').map(dayOf)
    if (first === undefined || last === undefined || first < 0 || last < 0 || more.length > 0) return undefined
    for (let day = first; ; day = (day + 1) % 7) {
      days.add(day)
      if (day === last) break
    }
  }
  const clock = (time = '') => (time === '' ? '' : time.padStart(5, '0'))
  return { days: days.size === 0 ? everyDay : [...days].sort(), from: clock(found[2]), to: clock(found[3]) }
}

function dayOf(text: string): number {
  const name = text.trim().slice(0, 3)
  return (dayKeys as readonly string[]).indexOf(name)
}

/** Writes a part of the week. Without a day that is `never`, which no rule takes. */
export function weekSpanText({ days, from, to }: WeekSpan): string {
  const sorted = [...new Set(days)].sort()
  const runs: number[][] = []
  for (const day of sorted) {
    const run = runs.at(-1)
    if (run && day === (run.at(-1) ?? 0) + 1) run.push(day)
    else runs.push([day])
  }
  const named = runs.map(run => {
    const [first, last] = [dayKeys[run[0] ?? 0], dayKeys[run.at(-1) ?? 0]]
    return run.length > 2 ? `${first}-${last}` : run.map(day => dayKeys[day]).join(',')
  })
  if (sorted.length === 0) return 'never'
  const time = from === '' || to === '' ? '' : `${from}-${to}`
  const dayPart = sorted.length === 7 && time !== '' ? '' : named.join(',')
  return [dayPart, time].filter(Boolean).join(' ')
}
