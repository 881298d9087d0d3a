import t from 'tap'
import { clockSkew, withFaults } from '../../devices/faults.js'
import { type ProfileName, profileNames, profiles } from '../../devices/profiles.js'

const start = Date.UTC(2026, 2, 1)
const minute = 60_000
const day = 24 * 60 * minute

const everyMinute = (profile: ProfileName, seed: number, days = 1) =>
  Array.from({ length: (days * day) / minute }, (_, i) => profiles[profile](seed, start + i * minute))

t.test('the same seed and time give the same reading, another seed another day', async t => {
  for (const name of profileNames) {
    const dayOf = (seed: number) => JSON.stringify(everyMinute(name, seed))
    const first = dayOf(7)
    t.ok(first === dayOf(7), name)
    t.ok(name === 'light' || first !== dayOf(8), `${name} by seed`)
  }
})

t.test('numbers stay where such things are', async t => {
  const ranges: Readonly<Record<string, readonly [number, number]>> = {
    temperature: [15, 25],
    setpoint: [15, 25],
    humidity: [30, 65],
    power: [0, 4_000],
    voltage: [225, 235],
    current: [0, 18],
    energy: [0, 1e6],
    battery: [20, 100],
    illuminance: [1, 1_200],
    co2: [380, 1_400],
    pm25: [0, 15],
    brightness: [0, 100],
  }
  for (const name of profileNames) {
    for (const seed of [0, 1, 2, 100_003, 2 ** 31 - 1]) {
      const wrong = everyMinute(name, seed)
        .flatMap(reading => Object.entries(reading))
        .filter(([, value]) => typeof value === 'number')
        .filter(([field, value]) => {
          const [min, max] = ranges[field] ?? [Number.NaN, Number.NaN]
          return !(Number(value) >= min && Number(value) <= max)
        })
      t.same(wrong, [], `${name}, seed ${seed}`)
    }
  }
})

t.test('a counter of energy never runs back', async t => {
  const energy = everyMinute('meter', 3, 3).map(reading => Number(reading.energy))
  t.ok(energy.every((value, i) => i === 0 || value >= (energy[i - 1] as number)))
  t.ok((energy.at(-1) as number) - (energy[0] as number) > 5, 'three days use some')
})

t.test('days have a shape', async t => {
  const at = (hour: number) => start + hour * 60 * minute
  t.ok(Number(profiles.motion(1, at(12)).illuminance) > Number(profiles.motion(1, at(0)).illuminance))
  t.ok(Number(profiles.thermostat(1, at(15)).temperature) > Number(profiles.thermostat(1, at(3)).temperature))
  for (const [name, field] of [
    ['door', 'open'],
    ['motion', 'motion'],
    ['light', 'on'],
  ] as const) {
    const values = everyMinute(name, 1).map(reading => reading[field])
    t.ok(values.includes(true) && values.includes(false), `${name} changes within a day`)
  }
})

t.test('faults come by seed and number, and only those asked for', async t => {
  const sent = (faults: readonly ('duplicate' | 'malformed')[]) =>
    Array.from({ length: 200 }, (_, n) => withFaults(new Set(faults), 1, n, '{"a":1}'))
  t.same(sent([]).flat().length, 200)
  t.same(sent(['duplicate']).flat().length, 210)
  const broken = sent(['malformed'])
    .flat()
    .filter(text => text !== '{"a":1}')
  t.same(broken, ['{"a', '{"a', '{"a', '{"a'])
  t.throws(() => JSON.parse(broken[0] as string))
  t.equal(clockSkew(new Set(), 5, start), 0)
  t.equal(start + clockSkew(new Set(['skew']), 5, start), 0, '1970')
  t.ok(Math.abs(clockSkew(new Set(['skew']), 6, start)) <= 120 * minute)
})
