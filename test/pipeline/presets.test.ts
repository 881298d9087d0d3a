import t from 'tap'
import type { Message } from '../../src/model.js'
import { Knowledge } from '../../src/pipeline/knowledge.js'
import { Mapping } from '../../src/pipeline/mapping.js'
import { allPresets } from '../../src/pipeline/presets/all.js'
import { Presets } from '../../src/pipeline/presets/presets.js'

const json = { depth: 16, fields: 1_000, inflated: 1_000_000 }

const message = (topic: string, payload: unknown): Message => ({
  sequence: 1,
  receivedAt: 1_763_710_000_000_000,
  topic,
  payload: Buffer.from(typeof payload === 'string' ? payload : JSON.stringify(payload)),
  qos: 1,
  retain: false,
  clientId: 'c',
  user: '',
  packetId: 0,
})

/** What becomes of a message: what it is ignored as, or its fields. */
function read(mapping: Mapping, topic: string, payload: unknown): unknown {
  const reading = mapping.read(message(topic, payload))
  if ('reason' in reading) return reading.reason
  return reading.ignored ?? Object.fromEntries(reading.points.flatMap(({ fields }) => [...fields]))
}

t.test('a description speaks for the topics of its own user, and for those of nobody', async t => {
  const knowledge = new Knowledge()
  const mapping = new Mapping([], json, { knowledge })
  const by = (user: string, topic: string, payload: unknown) => mapping.read({ ...message(topic, payload), user })
  const config = (unit: string) => ({
    ...{ stat_t: 'line/t', unit_of_meas: unit, uniq_id: 'x', dev: { ids: ['d1'], name: unit } },
  })
  const unit = (one = mapping) => one.unit({ measurement: 'line', field: 'value' }, 'line/t')
  by('other', 'homeassistant/sensor/evil/config', config('°F'))
  t.equal(unit(), '°F', 'nobody has published there')
  by('line', 'line/t', '21.5')
  t.equal(unit(), undefined, 'the readings are of another user')
  by('line', 'homeassistant/sensor/line/config', config('°C'))
  by('other', 'homeassistant/sensor/evil2/config', config('K'))
  t.equal(unit(), '°C')
  t.same(new Set(knowledge.devices().map(({ name }) => name)), new Set(['°C', 'K']), 'nor does it rename a device')
  const copy = new Knowledge()
  copy.restore(JSON.parse(JSON.stringify(knowledge.snapshot())))
  t.equal(unit(new Mapping([], json, { knowledge: copy })), '°C', 'also after a restart')
  by('other', 'line/t', '7')
  t.equal(unit(), 'K', 'who publishes there may describe it')
})

t.test('every preset has a name of its own and says what becomes of its readings', async t => {
  const names = allPresets.map(({ name }) => name)
  t.equal(new Set(names).size, names.length)
  for (const { name, topics } of allPresets) {
    t.match(name, /^[a-z][\w-]*$/)
    t.ok(
      topics.every(({ is, describe }) => (is === 'description') === (describe !== undefined)),
      name,
    )
  }
})

t.test('descriptions, commands and logs are no readings', async t => {
  const mapping = new Mapping([], json)
  const cases: readonly (readonly [topic: string, payload: unknown, is: unknown])[] = [
    ['zigbee2mqtt/bridge/info', { version: '2.1' }, 'ignored'],
    ['zigbee2mqtt/bridge/logging', { level: 'info', message: 'x' }, 'log'],
    ['zigbee2mqtt/lamp/set', { state: 'ON' }, 'command'],
    ['zigbee2mqtt/a/b/get', { state: '' }, 'command'],
    ['zigbee2mqtt/lamp', { state: 'ON', brightness: 99 }, { state: true, brightness: 99 }],
    ['zigbee2mqtt/bridge/state', { state: 'online' }, { state: 'online' }],
    ['plant/bridge/devices', '7', { value: 7 }],
    ['cmnd/plug/POWER', 'ON', 'command'],
    ['plug/cmnd/POWER', 'ON', 'command'],
    ['tele/plug/INFO1', { Info1: {} }, 'ignored'],
    ['stat/plug/POWER', 'ON', { value: true }],
    ['node/debug', '\u001b[0;36m[D][sensor:093]: T 21.5\u001b[0m', 'log'],
    ['node/debug', '[C][mqtt:012]: MQTT', 'log'],
    ['node/debug', '7', { value: 7 }],
    ['node/switch/relay/command', 'ON', 'command'],
    ['node/sensor/flow/state', '12.25', { value: 12.25 }],
    ['shellies/s1/relay/0/command', 'on', 'command'],
    ['shellies/s1/relay/0/power', '12.5', { value: 12.5 }],
    ['pm1/rpc', { id: 1, src: 'x', method: 'Switch.Set' }, 'command'],
    [
      'pm1/events/rpc',
      { src: 'a', dst: 'b', method: 'N', params: { ts: 1.7e9, 'switch:0': { apower: 5 } } },
      { 'switch:0.apower': 5 },
    ],
    ['solar/1164/cmd/limit', '50', 'command'],
    ['evcc/loadpoints/1/mode/set', 'pv', 'command'],
    ['evcc/loadpoints/1/mode', 'off', { value: 'off' }],
    ['R/c0619ab/system/0/Serial', '', 'command'],
    ['N/c0619ab/battery/256/Soc', { value: 87.5 }, { value: 87.5 }],
    ['v3/a@t/devices/d/down/push', {}, 'command'],
    ['v3/a@t/devices/d/up', { uplink_message: { decoded_payload: { t: 1 } }, correlation_ids: ['a'] }, { t: 1 }],
    ['application/1/device/2/event/up', { object: { t: 1 }, data: 'AA==' }, { t: 1 }],
    ['application/1/device/2/event/txack', {}, 'log'],
    ['eu868/gateway/a/event/up', 'x', 'ignored'],
    ['owntracks/u/d', { _type: 'lwt', tst: 1 }, 'ignored'],
    ['owntracks/u/d', { _type: 'location', tst: 1.7e9, lat: 47 }, { lat: 47 }],
    ['wled/desk/v', '<vs/>', 'ignored'],
    ['ha/sensor/x/last_updated', '"2026-01-01T00:00:00+00:00"', 'ignored'],
    ['msh/EU/2/e/LongFast/!a', 'x', 'ignored'],
    ['home/gw/commands/MQTTtoBT/config', '{}', 'command'],
  ]
  for (const [topic, payload, is] of cases) t.same(read(mapping, topic, payload), is, topic)
})

t.test('discovery of Home Assistant and definitions of Zigbee2MQTT: no series, named devices, units', async t => {
  const knowledge = new Knowledge()
  const mapping = new Mapping([], json, { knowledge })
  for (let device = 0; device < 40; device++) {
    for (let entity = 0; entity < 8; entity++) {
      const config = {
        '~': `x/dev${device}`,
        stat_t: '~/state',
        val_tpl: `{{ value_json.v${entity} | round(1) }}`,
        unit_of_meas: '°C',
        dev: { ids: [`id${device}`], name: `Device ${device}`, mf: 'M', mdl: 'X', sa: 'Kitchen' },
      }
      t.equal(read(mapping, `homeassistant/sensor/d${device}/e${entity}/config`, config), 'description')
    }
  }
  t.equal(knowledge.devices().length, 40)
  t.match(knowledge.devices()[0], { name: 'Device 0', area: 'Kitchen', manufacturer: 'M', model: 'X' })
  t.equal(mapping.unit({ measurement: 'x', field: 'v3' }, 'x/dev7/state'), '°C')
  t.equal(read(mapping, 'homeassistant/sensor/d0/e0/config', ''), 'description', 'taken back')
  t.equal(knowledge.devices()[0]?.entities.length, 7)

  const exposes = [
    { type: 'numeric', name: 'voltage', property: 'voltage', unit: 'mV', access: 1 },
    { type: 'light', features: [{ type: 'binary', property: 'state', access: 7 }] },
  ]
  const device = { ieee_address: '0x01', friendly_name: 'cube', type: 'EndDevice', definition: { model: 'M', exposes } }
  t.equal(read(mapping, 'zigbee2mqtt/bridge/devices', [device]), 'description')
  t.equal(mapping.unit({ measurement: 'zigbee2mqtt', field: 'voltage' }, 'zigbee2mqtt/cube'), 'mV')
  const cube = knowledge.devices().find(({ id }) => id === '0x01')
  t.equal(cube?.entities.find(({ field }) => field === 'state')?.commandTopic, 'zigbee2mqtt/cube/set')

  const copy = new Knowledge()
  copy.restore(JSON.parse(JSON.stringify(knowledge.snapshot())))
  t.equal(JSON.stringify(copy.devices()), JSON.stringify(knowledge.devices()), 'kept over a restart')
})

t.test('a rule comes before the presets, which still tell units; presets can be switched off', async t => {
  const rules = [
    { topic: 'tele/{device}/SENSOR', measurement: 'power' },
    { topic: 'cmnd/#', measurement: 'commands' },
  ]
  const mapping = new Mapping(rules, json)
  t.same(read(mapping, 'tele/plug/SENSOR', { ENERGY: { Power: 5 } }), { 'ENERGY.Power': 5 })
  t.equal(mapping.unit({ measurement: 'power', field: 'ENERGY.Power' }, 'tele/plug/SENSOR'), 'W')
  t.same(read(mapping, 'cmnd/plug/POWER', 'ON'), { value: true })
  const without = new Mapping([], json, { presets: new Presets(['tasmota']) })
  t.same(read(without, 'cmnd/plug/POWER', 'ON'), { value: true })
  t.equal(read(without, 'zigbee2mqtt/lamp/set', '{}'), 'command')
})

t.test('tags from the payload: the series still belongs to its topic', async t => {
  const mapping = new Mapping([], json)
  const reading = mapping.read(message('rtl_433/h/events', { model: 'WH2', id: 173, temperature_C: 11.3, mic: 'CRC' }))
  const tags = [
    ['id', '173'],
    ['model', 'WH2'],
    ['topic', 'rtl_433/h/events'],
  ] as const
  t.match(reading, { points: [{ measurement: 'rtl_433', tags, fields: [['temperature_C', 11.3]] }] })
  t.same(mapping.sourcesOf({ measurement: 'rtl_433', tags, field: 'temperature_C' }), ['rtl_433/h/events'])
  const other = [...tags, ['x', '1']] as const
  t.same(mapping.sourcesOf({ measurement: 'rtl_433', tags: other, field: 'temperature_C' }), [])
})
