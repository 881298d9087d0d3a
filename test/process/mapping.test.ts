import t from 'tap'
import type { Message } from '../../src/model.js'
import { Mapping } from '../../src/process/mapping.js'

const receivedAt = 1_763_710_000_000_000

const message = (topic: string, payload: unknown): Message => ({
  sequence: 1,
  receivedAt,
  topic,
  payload: Buffer.from(typeof payload === 'string' ? payload : JSON.stringify(payload)),
  qos: 1,
  retain: false,
  clientId: 'c',
  user: '',
  packetId: 0,
})

const mapping = new Mapping([
  { topic: 'home/{room}/{device}/telemetry', measurement: 'telemetry' },
  {
    topic: 'plant/{line}/{cell...}',
    measurement: '{line}_data',
    tags: ['cell'],
    fields: { 'p.bar': 'pressure' },
    units: { pressure: 'bar' },
  },
  { topic: 'raw/#', measurement: 'raw', decoder: 'value', time: 'none' },
  { topic: 'home/#', measurement: 'never' },
])

t.test('named levels become tags, sorted; numbers, booleans and text become fields, sorted', async t => {
  t.match(mapping.read(message('home/kitchen/t1/telemetry', { temperature: 21, on: false })), {
    quality: 'good',
    points: [
      {
        measurement: 'telemetry',
        tags: [
          ['device', 't1'],
          ['room', 'kitchen'],
        ],
        fields: [
          ['on', false],
          ['temperature', 21],
        ],
        time: receivedAt,
      },
    ],
  })
})

t.test('measurement from the topic, chosen tags, renamed fields, the rest left out', async t => {
  t.match(mapping.read(message('plant/L1/a/b', { p: { bar: 3 }, noise: 1 })), {
    points: [{ measurement: 'L1_data', tags: [['cell', 'a/b']], fields: [['pressure', 3]] }],
  })
  t.match(mapping.read(message('plant/L1/a', { noise: 1 })), { reason: 'no_reading' })
})

t.test('the first rule that matches wins; a topic without one is its first level with the topic as tag', async t => {
  t.match(mapping.read(message('home/x', '1')), { points: [{ measurement: 'never', tags: [] }] })
  t.match(mapping.read(message('zigbee2mqtt/lamp', { state: 'ON' })), {
    points: [{ measurement: 'zigbee2mqtt', tags: [['topic', 'zigbee2mqtt/lamp']] }],
  })
  t.match(mapping.read(message('/x', '1')), { points: [{ measurement: 'x' }] })
  t.match(mapping.read(message('/', '1')), { points: [{ measurement: 'mqtt' }] })
})

t.test('an empty level makes no tag; an empty payload no point', async t => {
  t.match(mapping.read(message('home//t1/telemetry', '1')), { points: [{ tags: [['device', 't1']] }] })
  t.match(mapping.read(message('home/a/b/telemetry', '')), { points: [] })
})

t.test("the device's time, how late it is, and clocks that cannot be right", async t => {
  const at = (time: number) => mapping.read(message('home/a/b/telemetry', { time, v: 1 }))
  const ms = receivedAt / 1_000
  t.match(at(ms - 1_000), { quality: 'good', points: [{ time: receivedAt - 1_000_000 }] })
  t.match(at(ms - 3_600_000), { quality: 'late', points: [{ time: receivedAt - 3_600_000_000 }] })
  t.match(at(ms + 3_600_000), { quality: 'clock', points: [{ time: receivedAt }] }, 'an hour ahead')
  t.match(at(12), { quality: 'clock', points: [{ time: receivedAt }] }, '1970')
})

t.test(
  'a batch from a clock that is not set keeps its distances, ends when it was received, and loses nothing',
  async t => {
    const batch = [1, 2, 4].map(ts => ({ ts, v: ts }))
    t.match(mapping.read(message('home/a/b/telemetry', batch)), {
      quality: 'clock',
      points: [{ time: receivedAt - 3_000_000 }, { time: receivedAt - 2_000_000 }, { time: receivedAt }],
    })
    t.match(mapping.read(message('home/a/b/telemetry', [{ ts: 0, v: 1 }])), {
      quality: 'clock',
      points: [{ time: receivedAt }],
    })
  },
)

t.test('what cannot be decoded says why', async t => {
  t.match(mapping.read(message('home/a/b/telemetry', '{oops')), { reason: 'bad_json', detail: /not valid JSON/ })
})

t.test('units: the rule first, then well-known names', async t => {
  t.equal(mapping.unit('L7_data', 'pressure'), 'bar')
  t.equal(mapping.unit('telemetry', 'pressure'), 'hPa')
  t.equal(mapping.unit('telemetry', 'ENERGY.Power'), 'W')
  t.equal(mapping.unit('telemetry', 'mode'), undefined)
})
