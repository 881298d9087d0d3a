import t from 'tap'
import {
  beside,
  columnsOf,
  headingHeight,
  placed,
  rowsBetween,
  rowsOf,
  spotOf,
  totalOf,
} from '../../src/dashboard/home/layout.js'

t.test('rows are as high as their highest card', async t => {
  const rows = rowsOf([100, 150, 100, 120], 2, 10)
  t.same(rows, [
    { top: 0, height: 150, from: 0, to: 2 },
    { top: 160, height: 120, from: 2, to: 4 },
  ])
  t.equal(totalOf(rows), 280)
  t.equal(totalOf([]), 0)
})

t.test('only rows between two heights are drawn', async t => {
  const rows = rowsOf(
    Array.from({ length: 1_000 }, () => 90),
    1,
    10,
  )
  t.same(rowsBetween(rows, 1_000, 2_000), [10, 21])
  t.same(rowsBetween(rows, -500, -1), [0, 0])
  t.same(rowsBetween(rows, 200_000, 300_000), [1_000, 1_000])
})

t.test('a narrow window has one column', async t => {
  t.equal(columnsOf('cards', 292), 1)
  t.equal(columnsOf('cards', 1_392), 5)
  t.equal(columnsOf('list', 0), 1)
})

t.test('groups that are narrow enough share a shelf', async t => {
  const places = placed([[100, 100], [50], [100, 100, 100], [10]], 4, 'cards')
  t.same(
    places.map(({ column, span, top }) => [column, span, top]),
    [
      [0, 2, 0],
      [2, 1, 0],
      [0, 3, headingHeight + 100 + 24],
      [3, 1, headingHeight + 100 + 24],
    ],
  )
})

t.test('arrow keys go to the card that is seen there', async t => {
  // A B C    D        two groups on a shelf
  // E
  // F G               a third below
  const counts = [4, 1, 2]
  const places = placed([[100, 100, 100, 100], [100], [100, 100]], 4, 'cards').map((place, i) =>
    i === 0 ? { ...place, span: 3, rows: rowsOf([100, 100, 100, 100], 3, 12) } : place,
  )
  t.same(beside(counts, places, [0, 0], 'ArrowRight'), [0, 1])
  t.same(beside(counts, places, [0, 3], 'ArrowRight'), [1, 0])
  t.same(beside(counts, places, [1, 0], 'ArrowLeft'), [0, 3])
  t.same(beside(counts, places, [0, 0], 'ArrowLeft'), undefined)
  t.same(beside(counts, places, [0, 0], 'ArrowDown'), [0, 3])
  t.same(beside(counts, places, [0, 3], 'ArrowUp'), [0, 0])
  t.same(beside(counts, places, [2, 1], 'ArrowDown'), undefined)
  t.equal(spotOf(places, 0, 3).column, 0)
})
