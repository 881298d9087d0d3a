import t from 'tap'
import { forecast, type TierRate } from '../../../src/pipeline/retention/forecast.js'

const day = 864e5

const raw = (keepDays: number | undefined): TierRate => ({
  ...{ tier: 'raw', rows: 100_000, days: 100, bytesPerRow: 10 },
  classes: [{ perDay: 1_000, keep: keepDays === undefined ? {} : { raw: keepDays * day } }],
})

t.test('what is kept for ever grows until the room is full', async t => {
  const { at, most, fullInDays } = forecast([raw(undefined)], 500, 2_000_000)
  t.same(at[0], { days: 30, bytes: 1_000_000 + 300_000 + 500 })
  t.equal(most, undefined)
  t.equal(fullInDays, 100)
})

t.test('what is kept for some days stays as large', async t => {
  const { at, most, fullInDays } = forecast([raw(100)], 0, 2_000_000)
  t.same(
    at.map(({ bytes }) => bytes),
    [1_000_000, 1_000_000, 1_000_000],
  )
  t.equal(most, 1_000_000)
  t.equal(fullInDays, undefined)
})

t.test('a shorter time takes at once, and a longer one grows up to its end', async t => {
  t.equal(forecast([raw(50)], 0, 2_000_000).at[0]?.bytes, 500_000)
  const longer = forecast([raw(365)], 0, 2_000_000)
  t.equal(longer.at[0]?.bytes, 1_300_000)
  t.equal(longer.most, 3_650_000)
})

t.test('classes with times of their own count with these', async t => {
  const both: TierRate = {
    ...{ tier: 'raw', rows: 0, days: 0, bytesPerRow: 10 },
    classes: [
      { perDay: 1_000, keep: { raw: 10 * day } },
      { perDay: 100, keep: {} },
    ],
  }
  const { at, most } = forecast([both], 0, 1e9)
  t.equal(at[0]?.bytes, 10 * 10_000 + 30 * 1_000)
  t.equal(most, undefined)
})
