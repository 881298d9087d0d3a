import t from 'tap'
import { readFlat } from '../../src/pipeline/decoders/flat.js'
import type { ReadingRules, Sample } from '../../src/pipeline/decoders/sample.js'
import { readTree } from '../../src/pipeline/decoders/tree-reader.js'
import { Random } from '../fixtures/packets.js'

/** The two readers of JSON objects: the quick one reads nothing in another way than the thorough one. */

const names = [
  'temperature',
  'state',
  'mode',
  'v',
  'value',
  'time',
  'ts',
  'last_seen',
  'id',
  'unit',
  'name',
  'a',
  'b',
  '7',
]
const texts = [
  'on',
  'OFF',
  '21.5',
  'heat',
  '',
  'nan',
  'unknown',
  '19.8 °C',
  '0042',
  '8E27',
  '21,5',
  ' x ',
  '2026-01-01T00:00:00Z',
]
const numbers = [0, -1.5, 21, 1_767_225_600, 1_767_225_600_000, 1e16, 2 ** 53, -0]

function someValue(random: Random, depth: number): unknown {
  const kind = random.below(depth > 0 ? 10 : 7)
  if (kind < 3) return random.pick(numbers)
  if (kind < 5) return random.pick(texts)
  if (kind < 6) return random.chance(50)
  if (kind < 7) return null
  if (kind < 8) return Array.from({ length: random.below(3) }, () => someValue(random, depth - 1))
  return someObject(random, depth - 1)
}

function someObject(random: Random, depth: number): object {
  return Object.fromEntries(
    Array.from({ length: 1 + random.below(4) }, () => [random.pick(names), someValue(random, depth)] as const),
  )
}

const variants: readonly Partial<ReadingRules>[] = [{}, { timeFields: ['last_seen'] }, { decimalComma: true }]

t.test('what the quick reader reads, the thorough one reads alike', async t => {
  const random = new Random(1)
  let read = 0
  for (let n = 0; n < 20_000; n++) {
    const tree = someObject(random, 2)
    for (const variant of variants) {
      const options = () => ({
        rules: { absent: new Set(['', 'nan', 'unknown']), ...variant },
        memory: {},
        json: { depth: 8, fields: 100, inflated: 1e6 },
        receivedAt: 1_767_225_700e6,
      })
      const flat = readFlat(tree, options())
      if (!flat) continue
      read++
      const text = JSON.stringify(tree)
      const thorough = attempt(() =>
        readTree(tree, text.length, { ...options(), isExact: false, parseInner: () => undefined }),
      )
      if (JSON.stringify([flat]) !== JSON.stringify(thorough)) t.same([flat], thorough, text)
    }
  }
  t.ok(read > 5_000, `${read} were read quickly`)
})

function attempt(read: () => Sample[]): Sample[] | string {
  try {
    return read()
  } catch (error) {
    return String(error)
  }
}
