import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import type { MappingRule } from '../../src/config/settings.js'
import type { Message } from '../../src/model.js'
import { Codec } from '../../src/pipeline/decoders/codec.js'
import { loadRuleDecoders } from '../../src/pipeline/decoders/rule-decoders.js'
import { Mapping } from '../../src/pipeline/mapping.js'
import { tempDir } from '../services/service.js'

const json = { depth: 16, fields: 100, inflated: 100_000 }

/** The shape of codecs that makers publish: helpers, a switch over channels, CommonJS beside it, warnings. */
const maker = `
/* Payload Decoder: one file for The Things Network, ChirpStack and Helium. */
var kinds = { 0x01: 'battery', 0x03: 'temperature', 0x04: 'humidity' };
function readInt16LE(bytes) { var ref = (bytes[1] << 8) + bytes[0]; return ref > 0x7fff ? ref - 0x10000 : ref; }
function milesight(bytes) {
  var decoded = {};
  for (var i = 0; i < bytes.length; ) {
    var channel = bytes[i++], type = bytes[i++];
    if (channel === 0x01 && type === 0x75) { decoded[kinds[channel]] = bytes[i]; i += 1; }
    else if (channel === 0x03 && type === 0x67) { decoded.temperature = readInt16LE(bytes.slice(i, i + 2)) / 10; i += 2; }
    else if (channel === 0x04 && type === 0x68) { decoded.humidity = bytes[i] / 2; i += 1; }
    else break;
  }
  return decoded;
}
function decodeUplink(input) {
  if (input.fPort !== 85) return { errors: ['unknown FPort ' + input.fPort] };
  return { data: milesight(input.bytes), warnings: [] };
}
function Decode(fPort, bytes) { return milesight(bytes); }
function Decoder(bytes, port) { return milesight(bytes); }
if (typeof module !== 'undefined' && typeof exports !== 'undefined') { module.exports = { decodeUplink: decodeUplink }; }
`
const bytes = Buffer.from('0175640367e8ff046871', 'hex')
const found = { battery: 100, temperature: -2.4, humidity: 56.5 }
const uplink = { bytes, fPort: 85, recvTime: 1_700_000_000_000 }

const message = (payload: string | Buffer): Message => ({
  ...{ sequence: 1, receivedAt: 1_700_000_000_000_000, topic: 'lora/up', payload: Buffer.from(payload), qos: 0 },
  ...{ retain: false, clientId: 'c', user: '', packetId: 0 },
})

async function mappingWith(rule: Partial<MappingRule>): Promise<Mapping> {
  const rules = [{ topic: 'lora/up', measurement: 'lora', ...rule }]
  return new Mapping(rules, json, { decoders: await loadRuleDecoders(rules) })
}

async function fileWith(source: string): Promise<string> {
  const file = join(await tempDir(), 'codec.js')
  await writeFile(file, source)
  return file
}

t.test('a codec as its maker publishes it', async t => {
  const codec = await Codec.load('maker.js', maker)
  t.same(codec.decode(uplink), found)
  t.throws(() => codec.decode({ ...uplink, fPort: 1 }), { message: 'maker.js: unknown FPort 1' })
  const older = 'function Decoder(bytes, port) { return { port: port, first: bytes[0] } }'
  t.same((await Codec.load('older.js', older)).decode(uplink), { port: 85, first: 1 })
  const oldest = 'function Decode(fPort, bytes, variables) { return { port: fPort, k: variables.k } }'
  t.same((await Codec.load('old.js', oldest)).decode({ ...uplink, variables: { k: '7' } }), { port: 85, k: '7' })
  const time =
    'function decodeUplink(i) { return { data: { t: i.recvTime.toISOString(), b: Array.isArray(i.bytes) } } }'
  t.same((await Codec.load('time.js', time)).decode(uplink), { t: '2023-11-14T22:13:20.000Z', b: true })
})

t.test('nothing of one uplink reaches the next', async t => {
  const source =
    'var seen = {}; function decodeUplink(i) { seen[i.fPort] = 1; Array.prototype.x = 1; return { data: seen } }'
  const codec = await Codec.load('global.js', source)
  t.same(codec.decode({ ...uplink, fPort: 1 }), { 1: 1 })
  t.same(codec.decode({ ...uplink, fPort: 2 }), { 2: 1 })
})

t.test('a codec that fails, runs for ever or takes memory is ended, and the next uplink is decoded', async t => {
  const good = await Codec.load('maker.js', maker)
  const bad = [
    ['throws', 'throw new Error("no")', /no/],
    ['runs for ever', 'for (;;) {}', /too long/],
    ['recurses', 'return decodeUplink(i)', /overflow/],
    ['takes memory', 'var a = "x"; for (;;) a += a', /./],
    ['takes memory in pieces', 'var a = []; for (;;) a.push(new Uint8Array(100000))', /memory|too long/],
    ['backtracks', 'return /(a+)+$/.test("a".repeat(60) + "b")', /too long/],
    ['returns nothing', '', /nothing/],
    ['returns too much', 'return { data: "x".repeat(2000000) }', /too much/],
    ['returns a ring', 'var a = {}; a.a = a; return { data: a }', /circular/],
    ['looks for the host', 'return { data: process.env }', /process/],
    ['imports', 'return { data: require("fs") }', /require/],
    ['has no data', 'return {}', /neither/],
  ] as const
  for (const [what, body, reason] of bad) {
    const codec = await Codec.load(what, `function decodeUplink(i) { ${body} }`)
    t.throws(() => codec.decode(uplink), { message: reason }, what)
    t.same(good.decode(uplink), found, `after one that ${what}`)
  }
  await t.rejects(Codec.load('x', 'function other() {}'), { message: /no function decodeUplink/ })
  await t.rejects(Codec.load('x', 'function decodeUplink( {'), { message: /SyntaxError/ })
  await t.rejects(Codec.load('x', 'for (;;) {}'), { message: /too long/ })
})

t.test('uplinks of The Things Stack and ChirpStack, decoded by the server or not, and bare bytes', async t => {
  const mapping = await mappingWith({ codec: await fileWith(maker) })
  const data = bytes.toString('base64')
  const stack = (more: object) => ({
    ...{ end_device_ids: { device_id: 'd' }, received_at: '2023-11-14T22:13:19.5Z' },
    uplink_message: { f_port: 85, frm_payload: data, ...more },
  })
  const fieldsOf = (payload: object | Buffer) => {
    const reading = mapping.read(message(Buffer.isBuffer(payload) ? payload : JSON.stringify(payload)))
    return 'reason' in reading
      ? reading.reason
      : Object.fromEntries(reading.points.flatMap(({ fields }) => [...fields]))
  }
  t.match(fieldsOf(stack({})), {
    'uplink_message.decoded_payload.temperature': -2.4,
    'uplink_message.decoded_payload.battery': 100,
  })
  t.match(fieldsOf(stack({ decoded_payload: { temperature: 5 } })), { 'uplink_message.decoded_payload.temperature': 5 })
  t.equal(fieldsOf(stack({ f_port: 3 })), 'codec_error')
  const chirp = { time: '2023-11-14T22:13:19Z', deviceInfo: { devEui: '01' }, fPort: 85, data }
  t.match(fieldsOf(chirp), { 'object.temperature': -2.4, 'object.humidity': 56.5 })
  t.match(fieldsOf({ ...chirp, object: { temperature: 7 } }), { 'object.temperature': 7 })
  t.match(fieldsOf({ deviceInfo: { devEui: '01' }, batteryLevel: 90 }), { batteryLevel: 90 }, 'a status')
  const bare = await mappingWith({
    codec: await fileWith('function decodeUplink(i) { return { data: { n: i.bytes.length } } }'),
  })
  t.match(bare.read(message(Buffer.from([0xff, 1, 2]))), { points: [{ fields: [['n', 3]] }] })
})

t.test('a file that cannot be used is said with its rule', async t => {
  const rejects = (rule: Partial<MappingRule>, reason: RegExp) =>
    t.rejects(mappingWith(rule), { code: 'bad_settings', message: reason })
  await rejects({ codec: '/nowhere/codec.js' }, /lora\/up: \/nowhere\/codec.js/)
  await rejects({ codec: await fileWith('let') }, /codec.js/)
  await rejects({ descriptor: await fileWith('not a descriptor'), message: 'a.B' }, /codec.js/)
})
