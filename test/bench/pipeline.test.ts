import t from 'tap'
import { decode } from '../../src/pipeline/decoders/decoders.js'
import { readingOf } from './readings.js'
import { type PipelineRow, type Results, readResults, resultsMarkdown } from './results.js'
import { highestRate, isFlat, notInQueue, notStored, parseMetrics, type Sample, summary } from './sustained.js'
import { stamp, stampOf } from './wire.js'

t.test('a reading becomes a point of three numbers, the time it was sent the last of them', async t => {
  const payload = readingOf(7)
  stamp(payload, payload.length, 123_456_789)
  t.equal(stampOf(payload, payload.length), 123_456_789)
  const [sample] = decode(payload, {
    rules: { absent: new Set() },
    memory: {},
    receivedAt: 0,
    json: { depth: 16, fields: 1_000, inflated: 1_000_000 },
  })
  t.same([...(sample?.fields ?? [])].map(([name]) => name).sort(), ['energy', 'power', 'sent'])
  t.equal(sample?.fields.find(([name]) => name === 'sent')?.[1], 1e15 + 123_456_789)
  // A single reading is told from a count by that.
  t.notOk(Number.isInteger(sample?.fields.find(([name]) => name === 'power')?.[1]))
})

t.test('the numbers of the hub: sums over labels, lag by cursor', async t => {
  const text = [
    '# TYPE telehub_received_total counter',
    'telehub_received_total{qos="0"} 3',
    'telehub_received_total{qos="1"} 40',
    'telehub_stored_total 20',
    'telehub_dead_total{reason="bad_json"} 2',
    'telehub_dead_total{reason="no_reading"} 1',
    'telehub_spool_lag{cursor="bridge"} 7',
    'telehub_spool_lag{cursor="live"} 1',
    'process_cpu_seconds_total 5',
  ].join('\n')
  const found = { at: 0, ...parseMetrics(text) }
  t.same(found, { at: 0, received: 43, stored: 20, dead: 3, lag: { bridge: 7, live: 1 } })
  t.same([notInQueue(found), notStored(found)], [7, 20])
  t.throws(() => parseMetrics('telehub_clients 5'), /does not say/)
})

t.test('a backlog that goes up and down is flat, one that grows by a little more each second is not', async t => {
  const samples = (backlogAt: (second: number) => number): Sample[] =>
    Array.from({ length: 41 }, (_, n) => {
      const received = n * 250
      const stored = received - backlogAt(n / 4)
      return { at: n * 250_000, received, stored, dead: 0, lag: {} }
    })
  const rate = 1_000
  const saw = summary(
    samples(second => (second % 2) * 100),
    notStored,
  )
  t.ok(isFlat(saw, rate), `grows by ${saw.growth}/s`)
  const growing = summary(
    samples(second => second * 50),
    notStored,
  )
  t.ok(Math.abs(growing.growth - 50) < 0.001)
  t.notOk(isFlat(growing, rate))
  t.ok(Math.abs(growing.done - 950) < 0.001)
  t.same(growing.backlog, { first: 0, last: 500, most: 500 })
})

t.test('the highest rate a system keeps up with is found, whatever it is and however it behaves beyond', async t => {
  for (const capacity of [900, 5_000, 13_000, 70_000, 390_000]) {
    for (const beyond of [1, 0.6]) {
      let tried = 0
      const found = await highestRate(5_000, async rate => {
        tried++
        const flat = rate <= capacity
        return { sent: rate, done: flat ? rate : capacity * beyond, flat }
      })
      t.ok(found <= capacity && found >= 0.75 * capacity, `${found} of ${capacity}`)
      t.ok(tried <= 14, `in ${tried} trials`)
    }
  }
})

t.test('a first attempt at which nothing came through does not end the search', async t => {
  let tried = 0
  const found = await highestRate(5_000, async rate => {
    const flat = tried++ > 0 && rate <= 2_000
    return { sent: rate, done: flat ? rate : 0, flat }
  })
  t.ok(found >= 1_000 && found <= 2_000, `${found} of 2000`)
})

t.test('a system that makes its devices wait is not asked for more', async t => {
  const tried: number[] = []
  const found = await highestRate(5_000, async rate => {
    tried.push(rate)
    return { sent: Math.min(rate, 12_000), done: Math.min(rate, 12_000), flat: true }
  })
  t.same([found, tried], [12_000, [5_000, 10_000, 20_000]])
})

t.test('the table of the pipeline follows the one of the broker', async t => {
  const results = readResults()
  const row = (more: Partial<PipelineRow>): PipelineRow => ({ name: 'x', unit: '/s', cores: {}, ...more })
  const pipeline: NonNullable<Results['pipeline']> = {
    date: '2030-01-02T03:04:05Z',
    machine: results.machine,
    seconds: 60,
    versions: { telehub: '1', node: '2', rabbitmq: '3', influxdb: '4' },
    backlog: 2_000_000,
    rows: [
      row({ name: 'a', telehub: 20_000, rival: 10_000, ratio: 2, target: '1 × the plugin', reached: true }),
      row({ name: 'b', target: '60,000/s', reached: false }),
      row({ name: 'c', telehub: 7, unit: 'ms', note: 'fell behind' }),
    ],
  }
  const { pipeline: _, mqtt5: __, month: ___, screen: ____, access, ...others } = results
  const alone = resultsMarkdown(others)
  const text = resultsMarkdown({ ...others, pipeline })
  t.ok(text.startsWith(`${alone}\n\n`))
  const lines = text.slice(alone.length).trim().split('\n')
  t.same(lines.slice(4, 7), [
    '| a | 20,000/s | 10,000/s | 2.00 × | 1 × the plugin | reached |',
    '| b | — |  |  | 60,000/s | missed |',
    '| c (fell behind) | 7.00 ms |  |  |  |  |',
  ])
  t.match(lines.at(-1), '1 of 2 targets reached. Measured 2030-01-02')

  const rules = {
    date: '2031-01-02T03:04:05Z',
    machine: results.machine,
    seconds: 4,
    telehub: '1',
    rows: access?.rows ?? [],
  }
  const whole = resultsMarkdown({ ...others, pipeline, access: rules })
  t.ok(whole.startsWith(`${text}\n\n`), 'what rules cost comes behind')
  t.match(whole.split('\n').at(-1), 'Measured 2031-01-02')
})
