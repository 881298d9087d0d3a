/** Where the cards of a group are, without asking the browser: only those near the window are on the page. */

import type { HomeDevice } from './catalogue.js'

export const densities = ['cards', 'list', 'heat'] as const
export type Density = (typeof densities)[number]

/** Sizes in pixels, which `home.css` repeats. */
const sizes = {
  cards: { width: 264, gap: 12 },
  list: { width: 440, gap: 6 },
  heat: { width: 92, gap: 6 },
} as const
const card = { edges: 28, head: 40, gap: 12, values: 44, control: 44, foot: 30 }
const listHeight = 56
const heatHeight = 48
/** Heading of a group with the space around. */
export const headingHeight = 40
export const groupGap = 24

/** Returns how many cards are beside each other. */
export function columnsOf(density: Density, width: number): number {
  const { width: least, gap } = sizes[density]
  return Math.max(1, Math.floor((width + gap) / (Math.min(least, width) + gap)))
}

export function gapOf(density: Density): number {
  return sizes[density].gap
}

/** Whether a card has a row of controls. A lone switch is in the head of the card. */
export function hasControlRow({ controls }: Pick<HomeDevice, 'controls'>): boolean {
  return controls.some(({ kind }) => kind !== 'switch') || controls.length > 1
}

export function heightOf(density: Density, device: Pick<HomeDevice, 'values' | 'controls'>): number {
  if (density !== 'cards') return density === 'list' ? listHeight : heatHeight
  const mains = device.values.filter(({ main, hidden }) => main && !hidden).length
  const values = Math.max(1, Math.ceil(Math.min(mains, 4) / 2)) * card.values
  return card.edges + card.head + card.gap + values + (hasControlRow(device) ? card.control : 0) + card.foot
}

/** A row of cards: those from `from` to before `to`. */
export interface Row {
  readonly top: number
  readonly height: number
  readonly from: number
  readonly to: number
}

export function rowsOf(heights: readonly number[], columns: number, gap: number): readonly Row[] {
  const rows: Row[] = []
  let top = 0
  for (let from = 0; from < heights.length; from += columns) {
    const to = Math.min(heights.length, from + columns)
    const height = Math.max(...heights.slice(from, to))
    rows.push({ top, height, from, to })
    top += height + gap
  }
  return rows
}

export function totalOf(rows: readonly Row[]): number {
  const last = rows.at(-1)
  return last ? last.top + last.height : 0
}

/** Returns the rows that are between two heights, from `first` to before `end`. */
export function rowsBetween(rows: readonly Row[], from: number, to: number): readonly [first: number, end: number] {
  let first = 0
  while (first < rows.length && (rows[first] as Row).top + (rows[first] as Row).height < from) first++
  let end = first
  while (end < rows.length && (rows[end] as Row).top <= to) end++
  return [first, end]
}

/** Where a group is: groups that are narrow enough share a shelf, as books do. */
export interface Placed {
  /** First column, and how many the group takes. */
  readonly column: number
  readonly span: number
  /** Pixels from the top of all groups to the heading. */
  readonly top: number
  readonly rows: readonly Row[]
}

/** Puts groups on shelves, in their order. `heights`: of the cards of each group. */
export function placed(heights: readonly (readonly number[])[], columns: number, density: Density): readonly Placed[] {
  const { gap } = sizes[density]
  // A heading needs more room than a cell of the heat map.
  const least = density === 'heat' ? 3 : 1
  let [column, top, shelf] = [0, 0, 0]
  return heights.map(of => {
    const span = Math.min(columns, Math.max(least, of.length))
    const rows = rowsOf(of, span, gap)
    if (column + span > columns) {
      top += shelf + groupGap
      column = 0
      shelf = 0
    }
    const place = { column, span, top, rows }
    column += span
    shelf = Math.max(shelf, headingHeight + totalOf(rows))
    return place
  })
}

/** A card among groups: number of the group, number in the group. */
export type Place = readonly [group: number, at: number]

/** Pixels that a card in another column seems farther away. */
const sideways = 400

/** Returns the card beside another, as an arrow key moves; undefined at the edge. `counts`: cards in each group. */
export function beside(
  counts: readonly number[],
  places: readonly Placed[],
  [group, at]: Place,
  key: string,
): Place | undefined {
  if (key === 'ArrowRight') return at + 1 < (counts[group] ?? 0) ? [group, at + 1] : first(counts, group + 1)
  if (key === 'ArrowLeft') return at > 0 ? [group, at - 1] : last(counts, group - 1)
  const direction = key === 'ArrowDown' ? 1 : -1
  const here = spotOf(places, group, at)
  let best: Place | undefined
  let least = Infinity
  for (const [g, count] of counts.entries()) {
    for (let i = 0; i < count; i++) {
      const there = spotOf(places, g, i)
      const down = (there.y - here.y) * direction
      if (down <= 0) continue
      const far = down + Math.abs(there.column - here.column) * sideways
      if (far >= least) continue
      least = far
      best = [g, i]
    }
  }
  return best
}

function first(counts: readonly number[], group: number): Place | undefined {
  return (counts[group] ?? 0) > 0 ? [group, 0] : undefined
}

function last(counts: readonly number[], group: number): Place | undefined {
  const count = counts[group] ?? 0
  return count > 0 ? [group, count - 1] : undefined
}

/** Returns the column of a card, and the pixels from the top of all groups. */
export function spotOf(
  places: readonly Placed[],
  group: number,
  at: number,
): { readonly column: number; readonly y: number } {
  const place = places[group]
  if (!place) return { column: 0, y: 0 }
  const row = place.rows[Math.floor(at / place.span)]
  return { column: place.column + (at % place.span), y: place.top + headingHeight + (row?.top ?? 0) }
}
