/** Places of the tiles of the wall, without asking the browser: only those near the window are on the page. */

/** Sizes in pixels, which `board.css` repeats. */
const wide = { width: 168, gap: 12, height: 136 } as const
const narrow = { columns: 2, gap: 10, height: 128 } as const
/** Heading of a group with the space below, and the space above all groups but the first. */
export const headingHeight = 34
export const groupGap = 28

export interface Grid {
  readonly columns: number
  readonly gap: number
  /** Height of a tile. */
  readonly height: number
}

/** Returns the grid of tiles for the width of the wall. `isNarrow`: the screen is that of a phone. */
export function gridOf(width: number, isNarrow: boolean): Grid {
  if (isNarrow) return narrow
  return { columns: Math.max(1, Math.floor((width + wide.gap) / (wide.width + wide.gap))), ...wide }
}

/** Height of the tiles of a group. */
export function heightOf(count: number, { columns, gap, height }: Grid): number {
  const rows = Math.ceil(count / columns)
  return rows === 0 ? 0 : rows * height + (rows - 1) * gap
}

/** Tiles of a group from `first` to before `end`, and the empty space above them. */
export interface Near {
  readonly first: number
  readonly end: number
  readonly above: number
}

/** Returns the tiles that are between two heights, from the top of the tiles of a group. */
export function nearOf(count: number, from: number, to: number, { columns, gap, height }: Grid): Near {
  const row = height + gap
  const rows = Math.ceil(count / columns)
  const firstRow = Math.min(rows, Math.max(0, Math.floor((from + gap) / row)))
  const endRow = Math.min(rows, Math.max(firstRow, Math.ceil(to / row)))
  if (endRow === firstRow) return { first: 0, end: 0, above: 0 }
  return { first: firstRow * columns, end: Math.min(count, endRow * columns), above: firstRow * row }
}

/** Returns the place at which a row belongs in an order, after those that are equal. */
export function placeOf<Row>(rows: readonly Row[], row: Row, compare: (a: Row, b: Row) => number): number {
  let [low, high] = [0, rows.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if (compare(rows[middle] as Row, row) <= 0) low = middle + 1
    else high = middle
  }
  return low
}
