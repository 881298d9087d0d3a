import t from 'tap'
import { type Message, parseSeriesKey } from '../../src/model.js'
import { Mapping } from '../../src/pipeline/mapping.js'
import { matches } from '../../src/topics.js'

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

const json = { depth: 16, fields: 1_000, inflated: 1_000_000 }

const mapping = new Mapping(
  [
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
  ],
  json,
)

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
  const unset = new Mapping([], json, { clock: { isSet: () => false } })
  const later = (ms + 40 * 86_400_000) * 1_000
  t.match(
    unset.read(message('x', { time: later / 1_000, value: 1 })),
    { quality: 'good', points: [{ time: later }] },
    'the clock of the hub is not set: no time of a device is doubted',
  )
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

t.test('units: the rule first, then what the payload says; never a guess', async t => {
  t.equal(mapping.unit({ measurement: 'L7_data', field: 'pressure' }, undefined), 'bar')
  t.equal(mapping.unit({ measurement: 'telemetry', field: 'pressure' }, 'home/a/b/telemetry'), undefined)
  const enviro = { temperature: 21.4, pressure: 101_894, pressure_unit: 'Pa', lux: { value: 3, unit: 'lx' }, n: 1 }
  const reading = mapping.read(message('enviro', enviro))
  t.match(reading, {
    points: [
      {
        fields: [
          ['lux', 3],
          ['n', 1],
          ['pressure', 101_894],
          ['temperature', 21.4],
        ],
      },
    ],
  })
  const unit = (field: string) => mapping.unit({ measurement: 'enviro', field }, 'enviro')
  t.same(['pressure', 'lux', 'temperature', 'n'].map(unit), ['Pa', 'lx', undefined, undefined])
})

/** Of a mapping with these rules, or of the one above. */
function sourcesOf(key: string, of = mapping): readonly string[] {
  const series = parseSeriesKey(key)
  if (!series) throw new Error(key)
  return of.sourcesOf(series)
}

t.test('sources: the topics from which the mapping makes a series', async t => {
  t.same(sourcesOf('telemetry,device=t1,room=kitchen v'), ['home/kitchen/t1/telemetry'])
  t.same(sourcesOf('telemetry,device=t1 v'), ['home//t1/telemetry'], 'an empty level makes no tag')
  t.same(sourcesOf('L1_data,cell=a/b pressure'), ['plant/L1/a/b'], 'levels of the measurement; the rest')
  t.same(sourcesOf('L1_data pressure'), ['plant/L1/', 'plant/L1'])
  t.same(sourcesOf('L1_data,cell=a/b p.bar'), [], 'a field that the rule does not make')
  t.same(sourcesOf('a/b_data,cell=x pressure'), [], 'one level has no /')
  t.same(sourcesOf('raw value'), ['raw/#'])
  t.same(sourcesOf('never v'), ['home/#'], 'an earlier rule takes some of it')
  t.same(sourcesOf('zigbee2mqtt,topic=zigbee2mqtt/lamp state'), ['zigbee2mqtt/lamp'])
  t.same(sourcesOf('x,topic=/x value'), ['/x'])
  t.same(sourcesOf('mqtt,topic=/ value'), ['/'])
})

t.test('sources: none of a series that the mapping does not make', async t => {
  for (const key of [
    'telemetry,device=t1,room=kitchen,floor=1 v',
    'telemetry,room=kitchen,device=t1 v',
    'telemetry,device=t1,device=t1,room=kitchen v',
    'telemetry,device=t1,room= v',
    'telemetry,device=t1,room=+ v',
    'telemetry,device=t1,room=# v',
    'telemetry,device=t1,room=a/b v',
    'other,device=t1,room=kitchen v',
    'Telemetry,device=t1,room=kitchen v',
    '_datum pressure',
    'own,sensor=1 v',
    'own v',
    'lamp,topic=zigbee2mqtt/lamp state',
    'zigbee2mqtt,topic=zigbee2mqtt/+ state',
    'zigbee2mqtt,topic= state',
    'home,topic=home/kitchen/t1/telemetry v',
    'zigbee2mqtt,topic=zigbee2mqtt/lamp,x=1 state',
    '__proto__ v',
  ]) {
    t.same(sourcesOf(key), [], key)
  }
  t.same(mapping.sourcesOf({ measurement: 'telemetry', tags: [['', 'x']], field: 'v' }), [])
})

t.test('sources: several rules, and levels of which only a text with others tells', async t => {
  const several = new Mapping(
    [
      { topic: 'a/{room}/{device}', measurement: 'm', tags: ['device'] },
      { topic: 'b/{device}', measurement: 'm' },
      { topic: 'c/{device}', measurement: 'm', decoder: 'line' },
      { topic: 'd/{x}/{y}', measurement: '{x}_{y}', tags: [] },
      { topic: 'e/{device}', measurement: '{device}', tags: [] },
      { topic: 'f/{kind}/{device}', measurement: '{kind}-{device}', tags: ['device'] },
      { topic: '{site}/g', measurement: 'g' },
    ],
    json,
  )
  t.same(sourcesOf('m,device=t1 v', several), ['a/+/t1', 'b/t1'])
  t.same(sourcesOf('p_q_r v', several), ['d/+/+', 'e/p_q_r'])
  t.same(sourcesOf('mqtt v', several), ['e/mqtt', 'e/'])
  t.same(sourcesOf('temp-t1,device=t1 v', several), ['f/temp/t1'])
  t.same(sourcesOf('temp-t2,device=t1 v', several), [], 'measurement and tag contradict each other')
  t.same(sourcesOf('g,site=s v', several), ['s/g'])
  t.same(sourcesOf('g,site=$SYS v', several), [])
  const long = new Mapping([{ topic: '{a}/{b}/{c}/{d}', measurement: '{a}_{b}_{c}_{d}!', tags: [] }], json)
  t.same(sourcesOf(`${'_'.repeat(100_000)} v`, long), [], 'a text that takes a regular expression for ever')
})

t.test('sources: whatever the topic, it is among those of the series that it makes', async t => {
  const rules = [
    { topic: 'a/{x}/{y}', measurement: 'm' },
    { topic: 'a/{x}/{y...}', measurement: '{x}', tags: ['y'] },
    { topic: '+/{x}', measurement: 'm{x}{x}', tags: [] },
    { topic: '{x}/b/{y}/#', measurement: '{x}{y}', tags: ['x'] },
    { topic: '{x...}', measurement: '{x}', tags: [] },
  ]
  const levels = ['', 'a', 'b', 'm', 'mqtt', 'topic']
  let topics = levels
  let longest = levels
  for (let depth = 2; depth <= 4; depth++) {
    longest = longest.flatMap(head => levels.map(level => `${head}/${level}`))
    topics = [...topics, ...longest]
  }
  const wrong: string[] = []
  // Each rule first, last and left out: so each decides about its topics, and none does.
  for (let from = 0; from <= rules.length; from++) {
    for (let count = 0; count <= rules.length; count++) {
      const made = new Mapping([...rules.slice(from), ...rules.slice(0, from)].slice(0, count), json)
      for (const topic of topics.filter(topic => topic.length > 0)) {
        const reading = made.read(message(topic, '{"v":1}'))
        for (const { measurement, tags } of 'points' in reading ? reading.points : []) {
          const sources = made.sourcesOf({ measurement, tags, field: 'v' })
          if (!sources.some(source => matches(source, topic))) wrong.push(`${from} ${count} ${topic}: ${sources}`)
        }
      }
    }
  }
  t.same(wrong.slice(0, 10), [])
})

t.test('a line on a topic without a rule for lines cannot name the series of another topic', async t => {
  const line = (topic: string, text: string, user = 'mallory') => {
    const reading = mapping.read({ ...message(topic, text), user })
    return ('points' in reading ? reading.points : []).map(({ measurement, tags }) => ({ measurement, tags }))
  }
  const telemetry = [
    ['device', 'x'],
    ['measurement', 'telemetry'],
    ['room', 'mallory'],
    ['topic', 'home/mallory/x/telemetry'],
  ]
  t.same(
    line('devices/mallory/x', 'telemetry,device=meter,room=kitchen temperature=999'),
    [
      {
        measurement: 'devices',
        tags: [
          ['device', 'meter'],
          ['measurement', 'telemetry'],
          ['room', 'kitchen'],
          ['topic', 'devices/mallory/x'],
        ],
      },
    ],
    'measurement and tags of the line are tags beside the topic',
  )
  t.same(
    line('home/mallory/x/telemetry', 'telemetry,device=meter,line_device=y,room=kitchen temperature=1'),
    [
      {
        measurement: 'telemetry',
        tags: [
          ...telemetry.slice(0, 1),
          ['line_device', 'meter'],
          ['line_line_device', 'y'],
          ['line_room', 'kitchen'],
          ...telemetry.slice(1),
        ],
      },
    ],
    'a tag of the line never takes the place of one of the topic',
  )
  t.same(
    line('a', 'x,topic=devices/bob/t v=1\nx,measurement=devices v=1').flatMap(({ tags }) => tags),
    [
      ['line_topic', 'devices/bob/t'],
      ['measurement', 'x'],
      ['topic', 'a'],
      ['line_measurement', 'devices'],
      ['measurement', 'x'],
      ['topic', 'a'],
    ],
  )
  t.same(sourcesOf('devices,device=meter,measurement=telemetry,topic=devices/mallory/x temperature'), [
    'devices/mallory/x',
  ])
  t.same(sourcesOf('other,measurement=telemetry,topic=devices/mallory/x temperature'), [])
  t.same(sourcesOf('telemetry,device=y,measurement=x,room=mallory,topic=home/mallory/x/telemetry v'), [])
})

t.test('what several topics make, and lines that name their series, have their publisher as a tag', async t => {
  const shared = new Mapping(
    [
      { topic: 'a/{room}/{device}', measurement: 'm', tags: ['device'] },
      { topic: 'b/{device}', measurement: 'm' },
      { topic: 'c/{device}', measurement: 'c' },
      { topic: 'telegraf/#', measurement: 'telegraf', decoder: 'line' },
      { topic: '{topic}/{measurement}', measurement: '{topic}' },
    ],
    json,
  )
  const tags = (topic: string, user: string, text = '1') => {
    const reading = shared.read({ ...message(topic, text), user })
    return 'points' in reading ? reading.points[0]?.tags : reading
  }
  const device = ['device', 't1']
  t.same(tags('a/x/t1', 'bob'), [device, ['publisher', 'bob']], 'from several topics: whose is told apart')
  t.same(tags('b/t1', 'mallory'), [device, ['publisher', 'mallory']])
  t.equal(tags('b/t1', 'mallory'), tags('b/t1', 'mallory'), 'worked out once')
  t.same(tags('b/t1', ''), [device], 'without users there is nothing to tell apart')
  t.same(tags('c/t1', 'bob'), [device], 'a topic of its own')
  t.same(tags('telegraf/h', 'bob', 'cpu,host=h,publisher=alice v=1'), [
    ['host', 'h'],
    ['line_publisher', 'alice'],
    ['publisher', 'bob'],
  ])
  t.same(
    tags('lamp', 'bob', 't v=1i'),
    [
      ['measurement', 't'],
      ['publisher', 'bob'],
      ['topic', 'lamp'],
    ],
    'a rule may make the same tags',
  )
  t.same(sourcesOf('m,device=t1,publisher=bob v', shared), ['a/+/t1', 'b/t1'])
  t.same(sourcesOf('c,device=t1,publisher=bob v', shared), [], 'none that the mapping makes')
})
