import type { Test } from 'tap'
import { HubError } from '../../src/errors.js'
import type { Fields, FieldValue, Point, SeriesId, Tags } from '../../src/model.js'
import { type Aggregate, aggregates, type TimeSeriesStore } from '../../src/store/store.js'

/** A Tuesday in 2023, in microseconds, that is a multiple of no window used here. */
export const noon = 1_700_000_000_123_457

const hostile = [
  'with space',
  'a,b=c',
  'quote " and \' quote',
  'line\nbreak\r\ntab\t',
  'ends in backslash\\',
  'C:\\temp\\x41\\\\host\\, \\=\\"',
  '__proto__',
  'constructor',
  '#comment',
  'time',
  "' OR 1=1 --",
  '"; DROP DATABASE telehub; --',
  'naïve 温度 🌡️',
  ' leading and trailing ',
  '\ufeffbyte order mark',
]

export function point(measurement: string, tags: Tags, fields: Fields, time: number): Point {
  return { measurement, tags, fields, time }
}

/** One number of the series `climate,device=d1 temperature`. */
export function reading(time: number, value: FieldValue, field = 'temperature'): Point {
  return point('climate', [['device', 'd1']], [[field, value]], time)
}

export const temperature: SeriesId = { measurement: 'climate', tags: [['device', 'd1']], field: 'temperature' }

/** Everything of one series between two times, at most 100,000 values. */
export async function all(store: TimeSeriesStore, series: SeriesId, from = 0, to = 2_000_000_000_000_000) {
  const { times, values } = await store.history({ series, from, to, points: 100_000, fn: 'mean' })
  return times.map((time, i) => [time, values[i]])
}

/** The series of the first page. */
export async function listed(store: TimeSeriesStore, limit: number) {
  return (await store.series({ limit })).series
}

/**
 * What the port promises, sentence by sentence. `place` makes a new empty place for points; what it answers
 * makes one more store on that place, not yet started.
 */
export function storeContract(t: Test, place: () => Promise<() => TimeSeriesStore>): void {
  const check = (
    name: string,
    body: (t: Test, store: TimeSeriesStore, another: () => TimeSeriesStore) => Promise<void>,
  ) =>
    t.test(name, async t => {
      const make = await place()
      const store = make()
      await store.start()
      let stopped = false
      const { stop } = store
      store.stop = async () => {
        if (!stopped) await stop.call(store)
        stopped = true
      }
      t.teardown(() => store.stop())
      await body(t, store, make)
    })

  check('an empty store has no series and empty columns', async (t, store) => {
    t.strictSame(await listed(store, 10), [])
    t.strictSame(await all(store, temperature), [])
    t.strictSame(await store.write([]), [])
  })

  check('what write resolved is readable, in order of time, whatever order it came in', async (t, store) => {
    t.strictSame(await store.write([reading(noon + 3, 3), reading(noon + 1, 1)]), [])
    t.strictSame(await store.write([reading(noon + 2, 2), reading(noon + 4, 4), reading(noon, 0)]), [])
    t.strictSame(
      await all(store, temperature),
      [0, 1, 2, 3, 4].map(i => [noon + i, i]),
    )
  })

  check('a batch written again changes nothing', async (t, store) => {
    const batch = Array.from({ length: 50 }, (_, i) => reading(noon + i * 1_000, i))
    await store.write(batch)
    await store.write(batch)
    await store.write([...batch.slice(20), reading(noon + 50_000, 50)])
    t.strictSame(
      await all(store, temperature),
      Array.from({ length: 51 }, (_, i) => [noon + i * 1_000, i]),
    )
  })

  check('a point with the same series and time is replaced, the later one wins', async (t, store) => {
    await store.write([reading(noon, 1), reading(noon + 1, 2), reading(noon + 2, 3)])
    await store.write([reading(noon, 10), reading(noon + 2, 30)])
    t.strictSame(await all(store, temperature), [
      [noon, 10],
      [noon + 1, 2],
      [noon + 2, 30],
    ])
    t.equal((await listed(store, 1))[0]?.last.value, 30)
  })

  check('within one batch too the later one wins', async (t, store) => {
    await store.write([
      reading(noon, 1),
      reading(noon, 2),
      reading(noon + 1, 5),
      reading(noon - 1, 6),
      reading(noon, 3),
      reading(noon - 1, 7),
    ])
    t.strictSame(await all(store, temperature), [
      [noon - 1, 7],
      [noon, 3],
      [noon + 1, 5],
    ])
  })

  check('a late point does not become the newest', async (t, store) => {
    await store.write([reading(noon, 1)])
    await store.write([reading(noon - 86_400_000_000, 2), reading(noon - 500, 3)])
    t.strictSame(
      (await listed(store, 10)).map(series => series.last),
      [{ time: noon, value: 1 }],
    )
    t.equal((await all(store, temperature)).length, 3)
  })

  check('late and repeated points of many series, years apart', async (t, store) => {
    const year = 31_536_000_000_000
    const spread = Array.from({ length: 40 }, (_, i) =>
      point('spread', [['n', String(i % 4)]], [['v', i]], noon - (i % 20) * year - i),
    )
    await store.write(spread)
    await store.write([...spread].reverse())
    const counts = []
    for (let n = 0; n < 4; n++) {
      const series = { measurement: 'spread', tags: [['n', String(n)]], field: 'v' } as const
      counts.push((await all(store, series)).length)
    }
    t.strictSame(counts, [10, 10, 10, 10])
  })

  check('series that differ in one tag, or have one more, are not mixed', async (t, store) => {
    const tagSets: Tags[] = [
      [],
      [['a', '1']],
      [
        ['a', '1'],
        ['b', '2'],
      ],
      [['b', '2']],
      [['a', '1b2']],
    ]
    await store.write(tagSets.map((tags, i) => point('m', tags, [['v', i]], noon)))
    for (const [i, tags] of tagSets.entries()) {
      t.strictSame(await all(store, { measurement: 'm', tags, field: 'v' }), [[noon, i]])
    }
    t.strictSame(await all(store, { measurement: 'm', tags: [['a', '2']], field: 'v' }), [])
    t.strictSame(await all(store, { measurement: 'm', tags: [], field: 'w' }), [])
    t.strictSame(await all(store, { measurement: 'n', tags: [], field: 'v' }), [])
  })

  check('a tag without a value is no tag', async (t, store) => {
    await store.write([
      point(
        'm',
        [
          ['a', ''],
          ['b', '2'],
        ],
        [['v', 1]],
        noon,
      ),
    ])
    await store.write([point('m', [['b', '2']], [['v', 2]], noon + 1)])
    t.equal((await all(store, { measurement: 'm', tags: [['b', '2']], field: 'v' })).length, 2)
    t.strictSame(
      (await listed(store, 10)).map(series => series.tags),
      [[['b', '2']]],
    )
  })

  check('numbers, booleans and text come back as they were', async (t, store) => {
    const numbers = [0, -1.5, 1e300, 5e-324, 123456789.123456, Number.MAX_SAFE_INTEGER, -0.1]
    const texts = ['', 'on', 'two words', 'a "quoted" \\ text\\', 'line\nbreak', "it's", '温度 🌡️', 'true', '12']
    const flags = [true, false, true]
    await store.write(numbers.map((value, i) => reading(noon + i, value, 'number')))
    await store.write(texts.map((value, i) => reading(noon + i, value, 'text')))
    await store.write(flags.map((value, i) => reading(noon + i, value, 'flag')))
    for (const [field, values] of Object.entries({ number: numbers, text: texts, flag: flags })) {
      t.strictSame(
        await all(store, { ...temperature, field }),
        values.map((value, i) => [noon + i, value]),
      )
    }
    t.strictSame(
      (await listed(store, 10)).map(({ field, type, last }) => [field, type, last.value]),
      [
        ['flag', 'boolean', true],
        ['number', 'number', -0.1],
        ['text', 'text', '12'],
      ],
    )
  })

  check('several fields of one point are one series each', async (t, store) => {
    const fields: Fields = [
      ['humidity', 40],
      ['open', false],
      ['state', 'idle'],
    ]
    await store.write([point('room', [['name', 'hall']], fields, noon)])
    await store.write([point('room', [['name', 'hall']], [['state', 'busy']], noon)])
    const found = await listed(store, 10)
    t.strictSame(
      found.map(series => [series.field, series.last.value]),
      [
        ['humidity', 40],
        ['open', false],
        ['state', 'busy'],
      ],
    )
  })

  check('hostile text in measurements, tags and fields comes back, and stays one series', async (t, store) => {
    const points = hostile.map((text, i) =>
      point(
        text,
        [
          ['device', text],
          [`z${text}`, 'x'],
        ],
        [[text, i]],
        noon + i,
      ),
    )
    t.strictSame(await store.write(points), [])
    t.strictSame(await store.write(points), [])
    for (const [i, { measurement, tags }] of points.entries()) {
      const series = { measurement, tags, field: measurement }
      t.strictSame(await all(store, series), [[noon + i, i]], JSON.stringify(measurement))
    }
    const found = await listed(store, 1_000)
    t.equal(found.length, hostile.length)
    t.strictSame(
      new Set(found.map(({ measurement, tags, field }) => JSON.stringify([measurement, tags, field]))),
      new Set(points.map(({ measurement, tags }) => JSON.stringify([measurement, tags, measurement]))),
    )
  })

  check('one measurement with every hostile text as a tag', async (t, store) => {
    const points = hostile.map((text, i) => point('m', [['device', text]], [['v', i]], noon))
    t.strictSame(await store.write(points), [])
    for (const [i, { tags }] of points.entries()) {
      t.strictSame(await all(store, { measurement: 'm', tags, field: 'v' }), [[noon, i]], JSON.stringify(tags))
    }
  })

  check('a value of another type is stored in the field beside it, and hides nothing', async (t, store) => {
    await store.write([reading(noon, 1)])
    t.strictSame(
      await store.write([
        reading(noon + 1, 2),
        reading(noon + 2, 'warm'),
        reading(noon + 2, true),
        reading(noon + 3, 3),
        reading(noon + 3, 'hot'),
      ]),
      [],
    )
    t.strictSame(await all(store, temperature), [
      [noon, 1],
      [noon + 1, 2],
      [noon + 3, 3],
    ])
    t.strictSame(await all(store, { ...temperature, field: 'temperature_str' }), [
      [noon + 2, 'warm'],
      [noon + 3, 'hot'],
    ])
    t.strictSame(await all(store, { ...temperature, field: 'temperature_bool' }), [[noon + 2, true]])
    t.strictSame(
      await all(store, temperature, noon + 2, noon + 3),
      [[noon + 2, true]],
      'where the field has nothing, what is beside it answers',
    )
    t.equal((await listed(store, 10)).length, 3)
  })

  check('one writer cannot make the values of another impossible to store, nor to find', async (t, store) => {
    await store.write([point('climate', [['device', 'mallory']], [['temperature', 'none']], noon)])
    t.strictSame(await store.write([reading(noon, 21), reading(noon + 1, 22)]), [])
    t.strictSame(await all(store, temperature), [
      [noon, 21],
      [noon + 1, 22],
    ])
    t.strictSame((await listed(store, 10)).map(({ type }) => type).sort(), ['number', 'text'], 'each of its own type')
  })

  check('types within a batch, and years apart', async (t, store) => {
    const decade = 315_360_000_000_000
    t.strictSame(
      await store.write([
        reading(noon, 'text first'),
        reading(noon - decade, 5),
        point('other', [['device', 'd1']], [['temperature', 5]], noon),
      ]),
      [],
    )
    t.strictSame(await store.write([reading(noon - decade, 6), reading(noon - decade, 'old')]), [])
    t.strictSame(await all(store, temperature), [
      [noon - decade, 'old'],
      [noon, 'text first'],
    ])
    t.strictSame(await all(store, { ...temperature, field: 'temperature_num' }), [[noon - decade, 6]])
  })

  check('a field of the point itself is not replaced by one beside another', async (t, store) => {
    await store.write([point('climate', [['device', 'd1']], [['mode', 1]], noon)])
    const fields: Fields = [
      ['mode', 'auto'],
      ['mode_str', 'other'],
    ]
    t.strictSame(await store.write([point('climate', [['device', 'd1']], fields, noon + 1)]), [])
    t.strictSame(await all(store, { ...temperature, field: 'mode_str' }), [[noon + 1, 'other']])
    t.strictSame(await all(store, { ...temperature, field: 'mode_str_str' }), [[noon + 1, 'auto']])
  })

  check('when every field beside is of another type, that field alone is refused', async (t, store) => {
    const names = ['v', 'v_str', 'v_str_str', 'v_str_str_str']
    await store.write([
      point(
        'climate',
        [['device', 'd1']],
        names.map(name => [name, 1] as const),
        noon,
      ),
    ])
    const fields: Fields = [
      ['a', 1],
      ['v', 'text'],
    ]
    const rejected = await store.write([
      point('climate', [['device', 'd1']], fields, noon + 1),
      reading(noon + 1, 2, 'v'),
    ])
    t.match(rejected, [{ index: 0, reason: 'type_conflict', fields: ['v'] }])
    for (const word of ['v', 'climate', 'v_str']) t.match(rejected[0]?.detail, word)
    t.strictSame(await all(store, { ...temperature, field: 'a' }), [[noon + 1, 1]], 'its neighbour is stored')
    t.equal((await all(store, { ...temperature, field: 'v' })).length, 2)
    const alone = await store.write([point('climate', [['device', 'd1']], [['v', 'text']], noon + 2)])
    t.strictSame(
      alone.map(({ index, fields }) => [index, fields]),
      [[0, undefined]],
      'a point of which nothing is left is refused whole',
    )
  })

  check('series are found by words of their names', async (t, store) => {
    await store.write([
      reading(noon, 1),
      point(
        'climate',
        [['device', 'Küche 2']],
        [
          ['humidity', 1],
          ['temperature', 2],
        ],
        noon,
      ),
      point('power', [['device', "it's"]], [['value', 1]], noon),
    ])
    const found = async (...words: string[]) =>
      (await store.series({ limit: 10, words })).series.map(({ measurement, field }) => `${measurement} ${field}`)
    t.same(await found('climate', 'temp'), ['climate temperature', 'climate temperature'])
    t.same(await found('küche'), ['climate humidity', 'climate temperature'])
    t.same(await found("it's"), ['power value'])
    t.same(await found("' or true --"), [])
    const first = await store.series({ limit: 1, words: ['climate'] })
    t.ok(first.next, 'there are more')
  })

  check('the field in which a value is stored is told', async (t, store) => {
    t.equal(store.fieldOf(temperature, 'warm'), 'temperature', 'nothing is known yet')
    await store.write([reading(noon, 1), reading(noon, 2, 'humidity_str')])
    t.equal(store.fieldOf(temperature, 2), 'temperature')
    t.equal(store.fieldOf(temperature, 'warm'), 'temperature_str')
    t.equal(store.fieldOf(temperature, true), 'temperature_bool')
    await store.write([reading(noon, 3, 'humidity')])
    t.equal(store.fieldOf({ ...temperature, field: 'humidity' }, 'damp'), 'humidity_str_str')
    t.equal(store.fieldOf({ ...temperature, measurement: 'other' }, 'damp'), 'temperature')
  })

  check('a field that no store can hold does not take its neighbours along', async (t, store) => {
    const tags: Tags = [['device', 'd1']]
    const rejected = await store.write([
      point(
        'climate',
        tags,
        [
          ['humidity', 40],
          ['temperature', Number.NaN],
        ],
        noon,
      ),
      point(
        'climate',
        tags,
        [
          ['', 1],
          ['humidity', 41],
          ['state', '\udc00'],
          ['temperature', 21],
        ],
        noon + 1,
      ),
      point(
        'climate',
        tags,
        [
          ['humidity', Number.NaN],
          ['temperature', Number.POSITIVE_INFINITY],
        ],
        noon + 2,
      ),
    ])
    t.strictSame(
      rejected.map(({ index, reason, fields }) => [index, reason, fields]),
      [
        [0, 'bad_value', ['temperature']],
        [1, 'bad_value', ['', 'state']],
        [2, 'bad_value', undefined],
      ],
    )
    t.match(rejected[1]?.detail, /1 other field is refused, too/)
    t.strictSame(await all(store, { ...temperature, field: 'humidity' }), [
      [noon, 40],
      [noon + 1, 41],
    ])
    t.strictSame(await all(store, temperature), [[noon + 1, 21]])
  })

  check('a batch with refused points written again is answered the same, and changes nothing', async (t, store) => {
    const batch = [
      reading(noon, 'beside'),
      reading(noon + 1, 1),
      reading(noon + 1, Number.NaN),
      reading(noon + 2, 2),
      reading(noon + 1, 3),
    ]
    await store.write([reading(noon, 0)])
    for (let attempt = 0; attempt < 3; attempt++) {
      t.strictSame(
        (await store.write(batch)).map(({ index, reason }) => [index, reason]),
        [[2, 'bad_value']],
      )
    }
    t.strictSame(await all(store, temperature), [
      [noon, 0],
      [noon + 1, 3],
      [noon + 2, 2],
    ])
    t.strictSame(await all(store, { ...temperature, field: 'temperature_str' }), [[noon, 'beside']])
  })

  check('values no store can hold are refused, the others stored', async (t, store) => {
    const rejected = await store.write([
      reading(noon, Number.NaN),
      reading(noon, Number.POSITIVE_INFINITY),
      reading(noon, Number.NEGATIVE_INFINITY),
      reading(noon, 1),
      reading(noon + 0.5, 2),
      point('climate', [], [], noon),
      point('', [], [['v', 1]], noon),
      point('climate', [['device', '\ud800']], [['v', 1]], noon),
      reading(noon, 1, ''),
      reading(noon, 'half a pair: \udc00', 'state'),
    ])
    t.strictSame(
      rejected.map(({ index, reason }) => [index, reason]),
      [0, 1, 2, 4, 5, 6, 7, 8, 9].map(index => [index, 'bad_value']),
    )
    t.strictSame(await all(store, temperature), [[noon, 1]])
  })

  check('from is included, to is not', async (t, store) => {
    await store.write([0, 1, 2, 3].map(i => reading(noon + i * 10, i)))
    t.strictSame(await all(store, temperature, noon + 10, noon + 30), [
      [noon + 10, 1],
      [noon + 20, 2],
    ])
    t.strictSame(await all(store, temperature, noon + 11, noon + 20), [])
    t.strictSame(await all(store, temperature, noon, noon), [])
    t.strictSame(await all(store, temperature, noon + 20, noon), [])
  })

  check('no more than points: as they are; one more: windows', async (t, store) => {
    await store.write([0, 1, 2, 3, 4].map(i => reading(noon + i, i)))
    const query = { series: temperature, from: noon, to: noon + 1_000, fn: 'mean' } as const
    t.strictSame(await store.history({ ...query, points: 5 }), {
      times: [0, 1, 2, 3, 4].map(i => noon + i),
      values: [0, 1, 2, 3, 4],
    })
    t.strictSame(await store.history({ ...query, points: 4 }), { times: [noon], values: [2], window: 250 })
  })

  check('windows start at from, are equally wide, and empty ones give nothing', async (t, store) => {
    const readings = [
      [-1, 1_000],
      [0, 5],
      [9, 1],
      [50, 3],
      [99, 4],
      [100, 2],
      [101, 2],
      [300, 8],
      [399, 3],
      [499, 9],
      [500, 1_000],
    ] as const
    await store.write(readings.map(([offset, value]) => reading(noon + offset, value)))
    const expected: Record<Aggregate, number[]> = {
      mean: [3.25, 2, 5.5, 9],
      min: [1, 2, 3, 9],
      max: [5, 2, 8, 9],
      first: [5, 2, 8, 9],
      last: [4, 2, 3, 9],
      sum: [13, 4, 11, 9],
      count: [4, 2, 2, 1],
    }
    for (const fn of aggregates) {
      t.strictSame(
        await store.history({ series: temperature, from: noon, to: noon + 500, points: 5, fn }),
        { times: [0, 100, 300, 400].map(offset => noon + offset), values: expected[fn], window: 100 },
        fn,
      )
    }
    t.strictSame(
      await store.history({ series: temperature, from: noon, to: noon + 500, points: 1, fn: 'count' }),
      { times: [noon], values: [9], window: 500 },
      'one window for all',
    )
  })

  check('a width that does not divide is rounded up to whole microseconds', async (t, store) => {
    await store.write(Array.from({ length: 100 }, (_, i) => reading(noon + i * 10, i)))
    const query = { series: temperature, from: noon, to: noon + 1_000, points: 6, fn: 'min' } as const
    t.strictSame(await store.history(query), {
      times: [0, 1, 2, 3, 4, 5].map(i => noon + i * 167),
      values: [0, 17, 34, 51, 67, 84],
      window: 167,
    })
  })

  check('windows of booleans and text take the last value', async (t, store) => {
    const offsets = [0, 40, 60, 120, 180]
    await store.write(offsets.map((offset, i) => reading(noon + offset, i % 2 === 0, 'flag')))
    await store.write(offsets.map((offset, i) => reading(noon + offset, `text ${i}`, 'text')))
    for (const fn of aggregates) {
      const query = { from: noon, to: noon + 200, points: 2, fn }
      const times = [noon, noon + 100]
      t.strictSame(
        await store.history({ ...query, series: { ...temperature, field: 'flag' } }),
        { times, values: [true, true], window: 100 },
        fn,
      )
      t.strictSame(
        await store.history({ ...query, series: { ...temperature, field: 'text' } }),
        { times, values: ['text 2', 'text 4'], window: 100 },
        fn,
      )
    }
  })

  check('times before 1970 and in the next century are exact', async (t, store) => {
    const times = [-1_000_000_000_001, -1, 0, 1, 4_102_444_800_000_001]
    await store.write(times.map((time, i) => reading(time, i)))
    t.strictSame(
      await all(store, temperature, -2_000_000_000_000, 5_000_000_000_000_000),
      times.map((time, i) => [time, i]),
    )
    const windows = { series: temperature, from: -3, to: 3, points: 2, fn: 'count' } as const
    t.strictSame(await store.history(windows), { times: [-3, 0], values: [1, 2], window: 3 })
  })

  check('a page of series is ordered by measurement, tags, field; pages hold all of them once', async (t, store) => {
    const points = [
      point('b', [], [['v', 1]], noon),
      point('a', [['device', 'd10']], [['v', 2]], noon),
      point('a', [['device', 'd2']], [['w', 3]], noon),
      point('a', [['device', 'd2']], [['v', 4]], noon),
      point('a', [], [['v', 5]], noon),
      point('B', [], [['v', 6]], noon),
    ]
    await store.write(points)
    const whole = await store.series({ limit: 6 })
    t.strictSame(
      whole.series.map(({ last }) => last.value),
      [6, 5, 2, 4, 3, 1],
    )
    t.equal(whole.next, undefined)
    const values: unknown[] = []
    let after: string | undefined
    let pages = 0
    do {
      const page = await store.series({ limit: 4, after })
      values.push(...page.series.map(({ last }) => last.value))
      after = page.next
    } while (after !== undefined && ++pages < 10)
    t.equal(pages, 1, 'of six, four are on the first page')
    t.strictSame(values.sort(), [1, 2, 3, 4, 5, 6])
    for (const nonsense of ['', 'x', '-1', '1e99', '["a"]', '{}']) {
      await t.resolves(store.series({ limit: 4, after: nonsense }), 'what is no place begins anywhere')
    }
  })

  check('ten thousand points in one batch', async (t, store) => {
    const batch = Array.from({ length: 10_000 }, (_, i) =>
      point('big', [['device', `d${i % 10}`]], [['v', i]], noon + i),
    )
    t.strictSame(await store.write(batch), [])
    t.equal((await listed(store, 100)).length, 10)
    t.equal((await all(store, { measurement: 'big', tags: [['device', 'd7']], field: 'v' })).length, 1_000)
  })

  check('writes and reads at the same time', async (t, store) => {
    const rounds = Array.from({ length: 20 }, (_, i) => i)
    const writes = rounds.map(i => store.write([reading(noon + i, i), reading(noon, -i)]))
    const reads = rounds.map(() => all(store, temperature))
    for (const read of await Promise.all(reads)) t.ok(read.length <= rounds.length)
    t.strictSame((await Promise.all(writes)).flat(), [])
    t.equal((await all(store, temperature)).length, rounds.length)
    t.strictSame((await all(store, temperature))[0], [noon, -19], 'writes take effect in the order they were made')
  })

  check('another store on the same place finds everything', async (t, store, another) => {
    const points = [
      reading(noon, 1),
      reading(noon, true, 'flag'),
      reading(noon, 'text', 'text'),
      ...hostile.map((text, i) => point('m', [['device', text]], [[text, i]], noon)),
    ]
    await store.write(points)
    await store.write([reading(noon - 10, 0)])
    const before = await listed(store, 1_000)
    await store.stop()
    const reopened = another()
    await reopened.start()
    t.teardown(() => reopened.stop())
    t.strictSame(await listed(reopened, 1_000), before)
    t.strictSame(await all(reopened, temperature), [
      [noon - 10, 0],
      [noon, 1],
    ])
    t.strictSame(await reopened.write([...points, reading(noon + 1, 'text'), reading(noon + 1, 2)]), [])
    t.strictSame(await all(reopened, { ...temperature, field: 'temperature_str' }), [[noon + 1, 'text']])
    t.strictSame(await all(reopened, temperature), [
      [noon - 10, 0],
      [noon, 1],
      [noon + 1, 2],
    ])
  })

  check('a stopped store says that it is unavailable', async (t, store) => {
    await store.write([reading(noon, 1)])
    await store.stop()
    const uses: (() => Promise<unknown>)[] = [
      () => store.write([reading(noon, 1)]),
      () => store.history({ series: temperature, from: noon, to: noon + 1, points: 1, fn: 'mean' }),
      () => listed(store, 1),
    ]
    for (const use of uses) {
      const error = await use().catch(error => error)
      t.type(error, HubError)
      t.match(error, { code: 'store_unavailable' })
    }
  })
}
