import t from 'tap'

/* The pure parts of charts, which are compiled for browsers. */

type Wobble = { readonly unit: string; readonly decimals: number }
interface Noise {
  axisRange(low: number | null, high: number | null, wobble: Wobble): [number, number]
  leastHeight(low: number, high: number, wobble: Wobble): number
}
interface Csv {
  cell(value: number | boolean | string | undefined): string
  row(cells: readonly (number | boolean | string | undefined)[]): string
  rows(series: readonly { times: readonly number[]; values: readonly (number | boolean | string)[] }[]): string
  timeText(time: number): string
  fileName(name: string, from: number, to: number): string
}
interface Course {
  readonly times: number[]
  readonly values: (number | null)[]
  readonly lows: (number | null)[]
  readonly highs: (number | null)[]
  readonly count: number
  readonly decimals: number
  readonly figures: { low: number; mean: number; high: number } | undefined
  set(past: object, window: number, shift?: number): void
  widen(lows: object, highs: object): void
  push(time: number, value: number): boolean
  trim(span: object): void
}
interface States {
  readonly count: number
  set(past: object, shift?: number): void
  begin(time: number, value: unknown): void
  push(time: number, value: unknown): boolean
  within(span: object, now: number): readonly { value: unknown; from: number; to: number }[]
}
interface Selection {
  readonly keys: readonly string[]
  readonly off: readonly string[]
}

const of = async <Module>(name: string) =>
  (await import(new URL(`../../src/dashboard/${name}.js`, import.meta.url).href)) as Module

const { axisRange, leastHeight } = await of<Noise>('noise')
const csv = await of<Csv>('charts/csv')
const { Course, aligned } = await of<{
  Course: new () => Course
  aligned(parts: readonly object[]): { times: number[]; columns: unknown[][] }
}>('charts/course')
const { States, barsOf } = await of<{
  States: new () => States
  barsOf(stretches: readonly object[], least: number): readonly { value: unknown; changes: number }[]
}>('charts/states')
const address = await of<{
  selectionOf(parameters: URLSearchParams): Selection | undefined
  addressOf(selection: Selection, more?: object): string
}>('charts/address')
const span = await of<{
  filledRange(found: object, now: number): string | undefined
  stepped(span: object, step: string, isLive: boolean, now: number): object | undefined
  drawable(span: object, now: number): { from: number; to: number }
}>('charts/span')
const { sidesOf, spread } = await of<{
  sidesOf(drawn: readonly object[]): ReadonlyMap<string, string>
  spread(wanted: readonly number[], height: number, room: number): readonly number[]
}>('charts/line')

t.test('an axis does not zoom into noise', async t => {
  const height = (low: number, high: number, wobble: Wobble) => {
    const [from, to] = axisRange(low, high, wobble)
    return to - from
  }
  const degrees = { unit: '°C', decimals: 1 }
  t.ok(height(21.4, 21.5, degrees) > 1, 'a tenth of a degree is a tenth of the height at most')
  t.ok(height(20, 25, degrees) < 7, 'what is news fills the height')
  t.ok(height(1012.9, 1013.1, { unit: 'hPa', decimals: 1 }) >= 2)
  t.ok(height(1013, 1013, { unit: '', decimals: 0 }) > 10, 'an unknown unit: a part of the value')
  t.ok(height(5, 6, { unit: '', decimals: 0 }) >= 10, 'or ten steps of its own')
  t.ok(height(0.001, 0.002, { unit: '', decimals: 3 }) < 0.03, 'small values are seen')
  t.same(axisRange(0, 0.1, degrees)[0], 0, 'not below zero for what never is')
  t.ok(axisRange(-0.1, 0.1, degrees)[0] < -0.4)
  t.same(axisRange(null, null, degrees), [0, 1])
  t.equal(leastHeight(0, 0, { unit: '', decimals: 0 }) > 0, true)
})

t.test('CSV is that of RFC 4180, in no locale, and no formula', async t => {
  t.equal(
    csv.row(['a,b', 'c"d', 'e\nf', 1_234_567.5, -0.5, true, undefined]),
    '"a,b","c""d","e\nf",1234567.5,-0.5,true,\r\n',
  )
  for (const text of ['=1+1', '+1', '-1', '@x', '\tx', '\rx']) t.match(csv.cell(text), /^"?'/, JSON.stringify(text))
  t.equal(csv.cell(-1), '-1', 'a number is none')
  t.equal(csv.timeText(1_700_000_000_000), '2023-11-14T22:13:20.000Z')
  t.equal(csv.timeText(1_700_000_000_000.125), '2023-11-14T22:13:20.000125Z', 'microseconds')
  t.equal(csv.fileName('Küche · 21 °C/../x', 0, 60_000), 'Küche-21-C-x_1970-01-01T0000_1970-01-01T0001.csv')
  const one = { times: [1_000, 2_000], values: [1, 2] }
  const other = { times: [2_000, 3_000], values: ['x', 'y'] }
  const day = '1970-01-01T00:00:0'
  t.equal(csv.rows([one, other]), `${day}1.000Z,1,\r\n${day}2.000Z,2,x\r\n${day}3.000Z,,y\r\n`)
  t.equal(csv.rows([{ times: [], values: [] }]), '')
})

t.test('a course has gaps, extremes, live readings, and an earlier time', async t => {
  const course = new Course()
  const times = [...Array.from({ length: 20 }, (_, n) => n * 10), 500]
  course.set({ times, values: times }, 10)
  t.equal(course.values.filter(value => value === null).length, 1, 'the silence is a gap')
  t.equal(course.count, 21)
  course.widen({ times: [10], values: [9.25] }, { times: [10], values: [12] })
  t.same([course.lows[1], course.highs[1], course.decimals], [9.25, 12, 2])
  t.equal(course.push(500, 1), false, 'not newer')
  t.equal(course.push(505, 600), true)
  t.same([course.values.at(-1), course.highs.at(-1), course.count], [550, 600, 21], 'one value for a window')
  t.equal(course.push(511, 7), true)
  t.equal(course.count, 22)
  t.match(course.figures, { low: 0, high: 600 })
  course.trim({ from: 45, to: 600 })
  t.equal(course.times[0], 40, 'one point before the edge')
  course.set({ times: [5], values: [1] }, 1, 1_000)
  t.same(course.times, [1_005], 'moved')
  const both = aligned([
    { times: [1, 3], columns: [[10, null]] },
    { times: [2, 3], columns: [[20, 30]] },
  ])
  t.same(both, {
    times: [1, 2, 3],
    columns: [
      [10, undefined, null],
      [undefined, 20, 30],
    ],
  })
})

t.test('states hold until the next one, also from before the span', async t => {
  const states = new States()
  states.set({ times: [10, 20, 30], values: [true, true, false] })
  t.equal(states.count, 3)
  states.begin(0, false)
  t.same(states.within({ from: 0, to: 100 }, 50), [
    { value: false, from: 0, to: 10 },
    { value: true, from: 10, to: 30 },
    { value: false, from: 30, to: 50 },
  ])
  t.equal(states.push(30, true), false)
  t.equal(states.push(40, true), true)
  t.same(
    states.within({ from: 25, to: 35 }, 50).map(({ value }) => value),
    [true, false],
  )
  const quick = [0, 1, 2, 3].map(from => ({ value: from % 2, from, to: from + 1 }))
  t.match(barsOf([...quick, { value: 'x', from: 4, to: 40 }], 4), [{ value: undefined, changes: 4 }, { value: 'x' }])
})

t.test('the address holds the whole chart', async t => {
  const whole = 'series=a+b&with=c&with=d&range=24h&from=1&to=2&compare=week&off=2'
  const selection = address.selectionOf(new URLSearchParams(whole))
  t.match(selection, { keys: ['a b', 'c', 'd'], range: '24h', span: { from: 1, to: 2 }, compare: 'week', off: ['c'] })
  t.equal(selection && address.addressOf(selection, { over: 'values' }), `#${whole}&over=values`)
  t.equal(address.selectionOf(new URLSearchParams('with=c')), undefined)
  const odd = address.selectionOf(new URLSearchParams('series=a&with=a&range=x&from=2&to=1&compare=toString&off=9'))
  t.same(odd, { keys: ['a'], off: [] })
  const many = new URLSearchParams(
    Array.from({ length: 20 }, (_, i): [string, string] => [i ? 'with' : 'series', `${i}`]),
  )
  t.equal(address.selectionOf(many)?.keys.length, 8)
})

t.test('a chart begins with the range that has readings', async t => {
  const now = 10_000_000_000
  const found = (count: number, step: number) => ({
    times: Array.from({ length: count }, (_, i) => now - 1 - i * step),
    counts: Array.from({ length: count }, () => 1),
  })
  t.equal(span.filledRange(found(1_000, 1_000), now), '5m', 'enough of them')
  t.equal(span.filledRange(found(40, 1_000), now), '5m', 'all of few')
  t.equal(span.filledRange(found(100, 60_000), now), '1h')
  t.equal(span.filledRange(found(30, 86_400_000), now), '30d', 'one a day')
  t.equal(span.filledRange(found(0, 1), now), undefined)
  t.same(span.stepped({ from: 0, to: 100 }, 'earlier', false, 1_000), { from: -50, to: 50 })
  t.same(span.stepped({ from: 0, to: 100 }, 'later', false, 140), undefined, 'the present')
  t.same(span.drawable({ from: 0, to: 10 }, 5), { from: -1_995, to: 5 })
})

t.test('two units have an axis each, a third has none; labels do not cover each other', async t => {
  const series = (key: string, unit: string, isShown = true) => ({ subject: { key, unit }, isShown, course: {} })
  const sides = (...drawn: readonly object[]) => Object.fromEntries(sidesOf(drawn))
  t.same(sides(series('a', '°C'), series('b', '%'), series('c', '°C'), series('d', 'hPa')), {
    a: 'left',
    b: 'right',
    c: 'left',
    d: 'none',
  })
  t.same(sides(series('a', '°C', false), series('b', '%'), series('d', 'hPa')), { a: 'none', b: 'left', d: 'right' })
  t.same(spread([10, 11, 50], 10, 100), [10, 20, 50])
  t.same(spread([95, 96], 10, 100), [80, 90])
})

t.test('of the wall only the tiles near the window are on the page', async t => {
  interface Grid {
    readonly columns: number
    readonly gap: number
    readonly height: number
  }
  const wall = await of<{
    gridOf(width: number, isNarrow: boolean): Grid
    heightOf(count: number, grid: Grid): number
    nearOf(count: number, from: number, to: number, grid: Grid): object
    placeOf(rows: readonly number[], row: number, compare: (a: number, b: number) => number): number
  }>('values/wall-layout')
  const grid = { columns: 4, gap: 10, height: 100 }
  t.equal(wall.gridOf(708, false).columns, 4)
  t.equal(wall.gridOf(707, false).columns, 3)
  t.equal(wall.gridOf(0, false).columns, 1)
  t.equal(wall.gridOf(360, true).columns, 2)
  t.equal(wall.heightOf(9, grid), 320)
  t.equal(wall.heightOf(0, grid), 0)
  t.same(wall.nearOf(100, 0, 300, grid), { first: 0, end: 12, above: 0 })
  t.same(wall.nearOf(100, 1_100, 1_200, grid), { first: 40, end: 44, above: 1_100 })
  t.same(wall.nearOf(10, 5_000, 6_000, grid), { first: 0, end: 0, above: 0 }, 'below all')
  t.same(wall.nearOf(10, -500, -100, grid), { first: 0, end: 0, above: 0 }, 'above all')
  t.equal(
    wall.placeOf([1, 3, 3, 5], 3, (a, b) => a - b),
    3,
  )
  t.equal(
    wall.placeOf([], 3, (a, b) => a - b),
    0,
  )
})

t.test('a file has every reading, however many: never means, in as many answers as it takes', async t => {
  interface Asked {
    readonly from: number
    readonly to: number
    readonly points: number
  }
  const { csvOf } = await of<{ csvOf(wanted: object): Promise<readonly string[]> }>('charts/download')
  const count = 130_000
  const begin = 1_700_000_000_000
  // A quarter of an hour with a reading in 7 ms, after hours of silence.
  const times = Array.from({ length: count }, (_, n) => begin + 36_000_000 + n * 7)
  let answers = 0
  const ask = async (_key: string, { from, to, points }: Asked) => {
    answers++
    const own = times.filter(time => time >= from && time < to)
    if (own.length > points) return { times: [from], values: [-1], window: (to - from) / points }
    return { times: own, values: own.map((_, i) => i) }
  }
  const said: number[] = []
  const wanted = {
    series: [{ key: 'a', title: '=name, "quoted"' }],
    span: { from: begin, to: begin + 40_000_000 },
    ask,
    progress: (_readings: number, part: number) => said.push(part),
    signal: new AbortController().signal,
  }
  const text = (await csvOf(wanted)).join('')
  const lines = text.split('\r\n')
  t.equal(lines[0], `time,"'=name, ""quoted"""`)
  t.equal(lines.length, count + 2)
  t.notMatch(text, /,-1\r/, 'no window')
  t.equal(new Set(lines).size, count + 2, 'each once')
  t.ok(answers < 60, `${answers} answers`)
  t.equal(said.at(-1), 1)
  const aborted = AbortSignal.abort(new Error('enough'))
  await t.rejects(csvOf({ ...wanted, signal: aborted }), /enough/)
})

t.test('a file has the windows of a minute where they are all that is left, each once', async t => {
  interface Asked {
    readonly from: number
    readonly to: number
  }
  const { csvOf } = await of<{ csvOf(wanted: object): Promise<readonly string[]> }>('charts/download')
  const minute = 60_000
  const begin = 1_700_000_040_000
  // A window belongs to every answer that has a part of it.
  const ask = async (_key: string, { from, to }: Asked) => {
    const first = Math.floor(from / minute) * minute
    const times = Array.from({ length: Math.ceil((to - first) / minute) }, (_, n) => first + n * minute)
    return { times, values: times.map(() => 1), window: minute }
  }
  const wanted = {
    series: [{ key: 'a', title: 'a' }],
    span: { from: begin, to: begin + 10 * 3_600_000 + 1 },
    ask,
    progress: () => {},
    signal: new AbortController().signal,
  }
  const lines = (await csvOf(wanted)).join('').split('\r\n')
  t.equal(lines.length, 1 + 601 + 1)
  t.equal(new Set(lines).size, lines.length)
})
