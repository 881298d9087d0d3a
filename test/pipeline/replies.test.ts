import t from 'tap'
import type { Message } from '../../src/model.js'
import { type Reply, ReplyWatch } from '../../src/pipeline/reply-watch.js'

const lamp = { topic: 'own/lamp/state', field: 'value', commandTopic: 'own/lamp/cmd' }
const knowledge = { commanded: (topic: string) => (topic === lamp.commandTopic ? lamp : undefined) }

type Row = readonly [
  about: string,
  command: readonly [topic: string, payload: string],
  messages: readonly (readonly [topic: string, payload: string])[],
  outcome: 'good' | 'bad' | undefined,
  /** Number of the message that is the answer. */
  answer?: number,
]

const rows: readonly Row[] = [
  [
    'Zigbee2MQTT',
    ['zigbee2mqtt/lamp/set', '{"state":"ON"}'],
    [
      ['zigbee2mqtt/lamp', '{"state":"OFF"}'],
      ['zigbee2mqtt/lamp', '{"brightness":254,"linkquality":90,"state":"ON"}'],
    ],
    'good',
    1,
  ],
  [
    'Zigbee2MQTT, rounded',
    ['zigbee2mqtt/a/lamp/set', '{"brightness":200,"transition":2}'],
    [['zigbee2mqtt/a/lamp', '{"brightness":199}']],
    'good',
  ],
  [
    'Zigbee2MQTT, one attribute',
    ['zigbee2mqtt/lamp/set/state', 'on'],
    [['zigbee2mqtt/lamp', '{"state":"ON"}']],
    'good',
  ],
  [
    'Zigbee2MQTT, toggle',
    ['zigbee2mqtt/lamp/set', '{"state":"TOGGLE"}'],
    [
      ['zigbee2mqtt/lamp', '{"linkquality":1}'],
      ['zigbee2mqtt/lamp', '{"state":"OFF"}'],
    ],
    'good',
    1,
  ],
  ['Zigbee2MQTT, get', ['zigbee2mqtt/lamp/get', '{"state":""}'], [['zigbee2mqtt/lamp', '{"state":"OFF"}']], 'good'],
  [
    'Zigbee2MQTT, failed',
    ['zigbee2mqtt/lamp/set', '{"state":"ON"}'],
    [
      [
        'zigbee2mqtt/bridge/logging',
        '{"level":"error","message":"z2m: Publish \'set\' \'state\' to \'other\' failed: \'x\'"}',
      ],
      [
        'zigbee2mqtt/bridge/logging',
        '{"level":"error","message":"z2m: Publish \'set\' \'state\' to \'lamp\' failed: \'x\'","namespace":"z2m"}',
      ],
    ],
    'bad',
    1,
  ],
  [
    'Zigbee2MQTT, bridge',
    ['zigbee2mqtt/bridge/request/permit_join', '{"time":60,"transaction":7}'],
    [
      ['zigbee2mqtt/bridge/response/permit_join', '{"status":"ok","transaction":6}'],
      ['zigbee2mqtt/bridge/response/permit_join', '{"data":{},"status":"ok","transaction":7}'],
    ],
    'good',
    1,
  ],
  [
    'Zigbee2MQTT, bridge failed',
    ['zigbee2mqtt/bridge/request/device/remove', '{"id":"x"}'],
    [['zigbee2mqtt/bridge/response/device/remove', '{"status":"error","error":"x"}']],
    'bad',
  ],
  [
    'Tasmota',
    ['cmnd/plug/POWER', 'ON'],
    [
      ['tele/plug/STATE', '{"POWER":"ON"}'],
      ['stat/plug/RESULT', '{"POWER":"OFF"}'],
      ['stat/plug/RESULT', '{"POWER":"ON"}'],
    ],
    'good',
    2,
  ],
  ['Tasmota, one relay', ['cmnd/plug/Power1', '1'], [['stat/plug/RESULT', '{"POWER":"ON"}']], 'good'],
  ['Tasmota, toggle', ['cmnd/plug/POWER', '2'], [['stat/plug/RESULT', '{"POWER":"OFF"}']], 'good'],
  ['Tasmota, own topic', ['cmnd/plug/POWER', 'off'], [['stat/plug/POWER', 'OFF']], 'good'],
  ['Tasmota, unknown', ['cmnd/plug/Nonsense', ''], [['stat/plug/RESULT', '{"Command":"Unknown"}']], 'bad'],
  ['Tasmota, a light', ['cmnd/led/Dimmer', '50'], [['stat/led/RESULT', '{"POWER":"ON","Dimmer":50}']], 'good'],
  ['Tasmota, status', ['cmnd/plug/Status', '8'], [['stat/plug/STATUS8', '{"StatusSNS":{}}']], 'good'],
  ['Tasmota, topic first', ['attic/plug/cmnd/POWER', 'ON'], [['attic/plug/stat/RESULT', '{"POWER":"ON"}']], 'good'],
  [
    'Shelly 2, RPC',
    ['shelly1/rpc', '{"id":5,"src":"me","method":"Switch.Set","params":{"id":0,"on":true}}'],
    [
      ['me/rpc', '{"id":4,"result":{}}'],
      ['me/rpc', '{"id":5,"src":"shelly1","dst":"me","result":{"was_on":false}}'],
    ],
    'good',
    1,
  ],
  [
    'Shelly 2, RPC failed',
    ['shelly1/rpc', '{"id":5,"src":"me","method":"Nonsense"}'],
    [['me/rpc', '{"id":5,"error":{"code":404,"message":"No handler"}}']],
    'bad',
  ],
  [
    'Shelly 2, command',
    ['shelly1/command/switch:0', 'on'],
    [
      ['shelly1/status/switch:0', '{"id":0,"output":false}'],
      ['shelly1/status/switch:0', '{"id":0,"output":true}'],
    ],
    'good',
    1,
  ],
  [
    'Shelly 1',
    ['shellies/s1/relay/0/command', 'on'],
    [
      ['shellies/s1/relay/0/power', '3.1'],
      ['shellies/s1/relay/0', 'off'],
      ['shellies/s1/relay/0', 'on'],
    ],
    'good',
    2,
  ],
  [
    'Shelly 1, a light',
    ['shellies/s1/light/0/set', '{"turn":"on","brightness":50}'],
    [['shellies/s1/light/0/status', '{"ison":true,"brightness":50}']],
    'good',
  ],
  [
    'Shelly 1, roller',
    ['shellies/s1/roller/0/command/pos', '30'],
    [
      ['shellies/s1/roller/0/pos', '80'],
      ['shellies/s1/roller/0/pos', '30'],
    ],
    'good',
    1,
  ],
  [
    'ESPHome',
    ['node/switch/pump/command', 'ON'],
    [
      ['node/switch/pump/state', 'OFF'],
      ['node/switch/pump/state', 'ON'],
    ],
    'good',
    1,
  ],
  [
    'ESPHome, a light',
    ['node/light/lamp/command', '{"state":"ON"}'],
    [['node/light/lamp/state', '{"state":"ON","brightness":255}']],
    'good',
  ],
  [
    'described',
    ['own/lamp/cmd', 'ON'],
    [
      ['own/lamp/state', 'OFF'],
      ['own/lamp/state', 'ON'],
    ],
    'good',
    1,
  ],
  ['nobody', ['any/topic', 'ON'], [['any/topic', 'ON']], undefined],
  ['silence', ['cmnd/plug/POWER', 'ON'], [['stat/other/RESULT', '{"POWER":"ON"}']], undefined],
]

const message = (sequence: number, topic: string, payload: string) =>
  ({ sequence, topic, payload: Buffer.from(payload) }) as Message

for (const [about, [topic, payload], messages, outcome, answer = 0] of rows) {
  t.test(`${about}: ${topic} ${payload}`, async t => {
    const replies: Reply[] = []
    const watch = new ReplyWatch([], { replied: reply => replies.push(reply) })
    const after = (given: readonly (readonly [topic: string, payload: string])[], from: number) =>
      given.map(([topic, payload], i) => message(from + i, topic, payload))
    watch.observe(after(messages, 1))
    const command = { id: '1', topic, payload: Buffer.from(payload), after: 100 }
    if (!watch.expect(command, knowledge)) {
      t.equal(outcome, undefined)
      return
    }
    t.notOk(new ReplyWatch(['all'], { replied: () => {} }).expect(command, knowledge))
    watch.observe(after(messages, 1))
    t.same(replies, [], 'what was there before is no answer')
    watch.observe(after(messages, 101))
    watch.observe(after(messages, 201))
    if (outcome === undefined) return t.same(replies, [])
    t.equal(replies.length, 1)
    t.match(replies[0], { id: '1', isGood: outcome === 'good', topic: messages[answer]?.[0] })
    t.equal(Buffer.from(replies[0]?.payload ?? []).toString(), messages[answer]?.[1])
  })
}
