import { gzipSync } from 'node:zlib'
import { encode as encodeMessagePack } from '@msgpack/msgpack'
import { encode as encodeCbor } from 'cborg'
import t from 'tap'
import type { Message } from '../../src/model.js'
import { encodeProperties } from '../../src/mqtt/message-properties.js'
import { decode, formatOf } from '../../src/pipeline/decoders/decoders.js'
import { Undecodable } from '../../src/pipeline/decoders/sample.js'
import { Mapping } from '../../src/pipeline/mapping.js'

const json = { depth: 16, fields: 1_000, inflated: 100_000 }
const options = { rules: { absent: new Set<string>() }, memory: {}, receivedAt: 1_700_000_000_000_000, json }
const hex = (text: string) => Buffer.from(text.replace(/\s/g, ''), 'hex')

function refused(payload: Buffer, more: Partial<Parameters<typeof decode>[1]> = {}): string {
  try {
    return JSON.stringify(decode(payload, { ...options, ...more }))
  } catch (error) {
    if (error instanceof Undecodable) return error.reason
    throw error
  }
}

function fieldsOf(payload: Buffer, more: Partial<Parameters<typeof decode>[1]> = {}): unknown {
  return Object.fromEntries(decode(payload, { ...options, ...more }).flatMap(({ fields }) => [...fields]))
}

t.test('CBOR: what devices encode comes back, each kind of value of RFC 8949', async t => {
  const cases: readonly (readonly [bytes: string, value: unknown])[] = [
    ['1b 00000002540be400', 10_000_000_000],
    ['1b ffffffffffffffff', '18446744073709551615'],
    ['3b ffffffffffffffff', '-18446744073709551616'],
    ['c2 49 010000000000000000', '18446744073709551616'],
    ['c3 49 010000000000000000', '-18446744073709551617'],
    ['c4 82 21 19 6ab3', 273.15],
    ['c5 82 20 03', 1.5],
    ['f9 3e00', 1.5],
    ['fa 47c35000', 100_000],
    ['f4', false],
    ['c0 74 323031332d30332d32315432303a30343a30305a', '2013-03-21T20:04:00Z'],
    ['c1 1a 514b67b0', 1_363_896_240],
    ['d8 20 63 613a62', 'a:b'],
    ['44 01020304', '01020304'],
    ['5f 42 0102 43 030405 ff', '0102030405'],
    ['7f 65 7374726561 64 6d696e67 ff', 'streaming'],
    ['64 f0908591', '\u{10151}'],
  ]
  for (const [bytes, value] of cases) {
    t.same(fieldsOf(hex(`a1 61 76 ${bytes}`)), { v: value }, bytes)
    t.same(fieldsOf(hex(`bf 61 76 ${bytes} ff`)), { v: value }, `${bytes} in a map without a length`)
  }
  for (const bytes of ['f6', 'f7', 'f97e00', 'f97c00', 'f0', 'f8ff']) {
    t.same(fieldsOf(hex(`a2 61 76 ${bytes} 61 77 01`)), { w: 1 }, `${bytes} is no value`)
  }
  t.same(fieldsOf(hex('a2 01 f5 20 02')), { 1: true, '-1': 2 }, 'numbers as names')
  t.same(fieldsOf(hex('83 f93c00 fb4009 21fb54442d18 f4')), { 0: 1, 1: Math.PI, 2: false })
})

t.test('CBOR: what is not whole, or more than one item, is refused', async t => {
  const named = { decoder: 'cbor' } as const
  for (const bytes of ['a1', 'a1 61', 'a1 61 76', 'a1 61 76 01 ff', 'a1 61 76 01 00', 'ff', '9f 01', 'a1 ff ff'])
    t.equal(refused(hex(bytes), named), 'bad_cbor', bytes)
  for (const bytes of [
    '5f 01 ff',
    '7f 41 00 ff',
    '5f 5f 41 00 ff ff',
    '7f 61',
    '1c',
    'c2 01',
    'c4 01',
    'c4 82 61 61 01',
  ])
    t.equal(refused(hex(bytes), named), 'bad_cbor', bytes)
  t.equal(refused(hex('9b ffffffffffffffff'), named), 'bad_cbor', 'an array of 2^64 elements')
  t.equal(refused(hex('bb 001fffffffffffff'), named), 'bad_cbor', 'a map of 2^53 entries')
  t.equal(refused(Buffer.alloc(1_000_000, 0x81), named), 'too_deep')
  t.equal(refused(Buffer.alloc(1_000_000, 0x9f), named), 'too_deep')
  t.equal(refused(Buffer.concat([Buffer.alloc(1_000_000, 0xc6), hex('a1 61 76 01')]), named), '[{"fields":[["v",1]]}]')
  t.equal(refused(Buffer.alloc(1_000_000, 0xc2), named), 'too_deep', 'tags with a meaning nest')
  const deep = (levels: number) => Buffer.concat([Buffer.alloc(levels, 0x81), hex('01')])
  t.equal(refused(deep(16), named), 'no_reading', 'arrays in arrays are not read')
  t.equal(refused(deep(17), named), 'too_deep')
})

t.test('MessagePack: what devices encode comes back', async t => {
  const cases: readonly (readonly [bytes: string, value: unknown])[] = [
    ['7f', 127],
    ['e0', -32],
    ['cd 0102', 258],
    ['cf 00000002540be400', 10_000_000_000],
    ['cf ffffffffffffffff', '18446744073709551615'],
    ['d3 8000000000000000', '-9223372036854775808'],
    ['ca 3fc00000', 1.5],
    ['cb 400921fb54442d18', Math.PI],
    ['c2', false],
    ['d9 03 616263', 'abc'],
    ['da 0003 616263', 'abc'],
    ['db 00000003 616263', 'abc'],
    ['c4 02 0102', '0102'],
    ['c5 0002 0102', '0102'],
    ['d4 05 aa', 'aa'],
    ['c7 03 05 010203', '010203'],
    ['d6 ff 6553f100', '2023-11-14T22:13:20.000Z'],
    ['c7 0c ff 00000000 000000006553f100', '2023-11-14T22:13:20.000Z'],
  ]
  for (const [bytes, value] of cases) t.same(fieldsOf(hex(`81 a1 76 ${bytes}`)), { v: value }, bytes)
  t.same(fieldsOf(hex('83 a1 76 c0 a1 77 cb 7ff8000000000000 a1 78 01')), { x: 1 }, 'no value')
})

t.test('MessagePack: what is not whole, or claims more than there is, is refused', async t => {
  const named = { decoder: 'msgpack' } as const
  const all = [
    '81',
    '81 a1',
    '81 a1 76',
    '81 a1 76 01 00',
    'c1',
    '92 01',
    'd9',
    'd9 05 61',
    'c7',
    'c9 ffffffff',
    'cf 00',
  ]
  for (const bytes of [...all, 'dd ffffffff', 'df ffffffff', 'db ffffffff', 'dc 0002 01'])
    t.equal(refused(hex(bytes), named), 'bad_msgpack', bytes)
  // Each of these arrays would be as long as the payload, and all are open at the same time.
  const claims = Buffer.concat(Array.from({ length: 200_000 }, () => hex('dd 000c3500')))
  t.equal(refused(claims, named), 'too_deep')
  t.equal(refused(Buffer.alloc(1_000_000, 0x91), named), 'too_deep')
  t.equal(refused(hex('81 a9 5f5f70726f746f5f5f 01'), named), 'bad_msgpack', '__proto__')
})

t.test('names of the language are names like others', async t => {
  const odd = JSON.parse('{"__proto__":{"x":1},"constructor":2,"toString":3}') as object
  t.same(new Map(decode(Buffer.from(encodeCbor(odd)), options)[0]?.fields), new Map(Object.entries(flat)))
  t.notOk(Object.hasOwn(Object.prototype, 'x'))
})

const flat = { '__proto__.x': 1, constructor: 2, toString: 3 }

t.test('a limit for what a compressed payload becomes', async t => {
  t.equal(refused(gzipSync(Buffer.alloc(100_001, '7'))), 'inflated_too_large')
  t.equal(refused(gzipSync(Buffer.alloc(200_000_000, 0))), 'inflated_too_large', '200 MB of zeros in 200 KB')
  t.match(fieldsOf(gzipSync(Buffer.from('21.5'.padStart(100_000)))), { value: 21.5 })
})

t.test('the content type chooses before the payload does, and the mapping before both', async t => {
  const two = Buffer.from(encodeMessagePack({ a: 1 }))
  t.equal(formatOf(two), 'bytes')
  t.equal(formatOf(Buffer.from('21.5')), undefined)
  const types = [
    ['application/cbor', 'cbor'],
    ['Application/CBOR; profile=x', 'cbor'],
    ['application/x-msgpack', 'msgpack'],
    ['application/senml+json', 'senml'],
    ['application/sensml+cbor', 'senml'],
    ['application/gzip', 'gzip'],
    ['image/jpeg', 'bytes'],
    ['application/json', 'bytes'],
  ] as const
  for (const [type, format] of types) t.equal(formatOf(two, type), format, type)
  t.same(fieldsOf(hex('18 2a'), { contentType: 'application/cbor' }), { value: 42 }, 'a bare number')
  t.same(fieldsOf(hex('a1 01 02'), { contentType: 'application/cbor' }), { 1: 2 })
  t.same(fieldsOf(Buffer.from('21.5'), { contentType: 'application/json' }), { value: 21.5 })
  t.equal(refused(two, { contentType: 'application/cbor' }), 'bad_cbor')
  t.same(fieldsOf(two, { contentType: 'application/cbor', decoder: 'msgpack' }), { a: 1 })
})

t.test('bytes that are no text and show no format are said to be no text', async t => {
  const others: readonly (readonly [what: string, payload: Buffer])[] = [
    ['Latin-1', Buffer.from('{"t":24.5,"unit":"°C"}', 'latin1')],
    ['JPEG', hex('ffd8ffe000104a46494600010100')],
    ['PNG', hex('89504e470d0a1a0a0000000d49484452')],
    ['protobuf', hex('0a0b 08 d2 09 15 00 00 ac 41 18 80 e1 eb 17')],
    ['registers', hex('00eb 01f4 8000')],
    ['two bytes of CBOR or of anything', hex('81 05')],
    ['a map without words', hex('a1 01 02')],
    ['a small array', hex('83 01 02 03')],
    ['begins like zlib', hex('78 9c 00 01 02 03 04 05 06 07')],
    ['gzip by its first two bytes alone', hex('1f 8b 09 00 00')],
    ['random', hex('9f 3c d1 77 e2 08 b4 5a')],
  ]
  for (const [what, payload] of others) t.equal(refused(payload), 'not_utf8', what)
})

t.test('the mapping passes on the content type of MQTT 5', async t => {
  const mapping = new Mapping([], json)
  const message: Message = {
    ...{ sequence: 1, receivedAt: 1_700_000_000_000_000, topic: 'a/b', payload: hex('18 2a'), qos: 0, retain: false },
    ...{ clientId: 'c', user: '', packetId: 0, properties: encodeProperties({ contentType: 'application/cbor' }) },
  }
  t.match(mapping.read(message), { points: [{ measurement: 'a', fields: [['value', 42]] }] })
  t.match(mapping.read({ ...message, properties: undefined }), { points: [{ fields: [['value', '\x18*']] }] })
})

t.test('JSON in a text of JSON, an object a line, columns, and metrics of Telegraf', async t => {
  const text = (value: string) => Buffer.from(value)
  const times = (value: string) => decode(text(value), options).map(({ time, fields }) => [time, fields])
  t.same(fieldsOf(text(JSON.stringify(JSON.stringify({ a: 1, b: { c: 'x' } })))), { a: 1, 'b.c': 'x' })
  t.same(fieldsOf(text('{"m":"{\\"id\\":12345678901234567890,\\"t\\":1.5}","n":2}')), {
    ...{ 'm.id': '12345678901234567890', 'm.t': 1.5, n: 2 },
  })
  t.same(fieldsOf(text('{"m":"{not JSON}","n":2}')), { m: '{not JSON}', n: 2 })
  t.same(times('{"ts":1600000000,"v":1}\r\n\r\n{"ts":1600000001,"v":2}\n'), [
    [1_600_000_000e6, [['v', 1]]],
    [1_600_000_001e6, [['v', 2]]],
  ])
  t.equal(refused(text('{"v":1}\n{"v":}')), 'bad_json')
  t.equal(refused(text('{"v":1}\nrest')), 'bad_json')
  t.same(times('{"unit":"x","time":[1600000000,1600000001],"v":[1,null],"w":["on","off"]}'), [
    [1_600_000_000e6, [['unit', 'x']]],
    [
      1_600_000_000e6,
      [
        ['v', 1],
        ['w', true],
      ],
    ],
    [1_600_000_001e6, [['w', false]]],
  ])
  const metric = { name: 'cpu', tags: { host: 'a', cpu: '0' }, fields: { idle: 1 }, timestamp: 1_600_000_000 }
  const sample = {
    measurement: 'cpu',
    tags: [
      ['cpu', '0'],
      ['host', 'a'],
    ],
    fields: [['idle', 1]],
    time: 1_600_000_000e6,
  }
  t.same(decode(text(JSON.stringify(metric)), options), [sample])
  t.same(decode(text(JSON.stringify({ metrics: [metric] })), options), [sample])
  t.same(fieldsOf(text(JSON.stringify({ ...metric, more: 1 }))), {
    ...{ name: 'cpu', 'tags.host': 'a', 'tags.cpu': 0, 'fields.idle': 1, more: 1 },
  })
})

t.test('hostile texts in these shapes are refused or read, and take no time', async t => {
  const lines = '\n'.repeat(1_000_000)
  t.equal(refused(Buffer.from(`{"v":1}${lines}x`)), 'bad_json')
  t.same(fieldsOf(Buffer.from(`{"v":1}${lines}`)), { v: 1 })
  let nested = '{"v":1}'
  for (let n = 0; n < 14; n++) nested = JSON.stringify({ n: nested })
  t.ok(refused(Buffer.from(nested)))
  const many = JSON.stringify({
    time: Array.from({ length: 50_000 }, (_, i) => 1_600_000_000 + i),
    v: Array(50_000).fill(1),
  })
  t.equal(decode(Buffer.from(many), options).length, 50_000)
  t.equal(refused(Buffer.from(`{"t":"${'1/'.repeat(30)}","time":"${'12:'.repeat(24)}"}`)).includes('fields'), true)
})

t.test('times as clocks of many makers write them', async t => {
  const at = (value: unknown) => {
    const [sample] = decode(Buffer.from(JSON.stringify({ time: value, v: 1 })), options)
    return sample?.time === undefined ? [sample?.fields.length] : [sample.time / 1e6, sample.isLocal ?? false]
  }
  const noon = Date.UTC(2020, 4, 21, 12) / 1e3
  for (const [value, isLocal] of [
    ['2020-05-21T14:00:00+02:00[Europe/Berlin]', false],
    ['2020-05-21T12:00:00Z[UTC]', false],
    ['20200521120000', true],
    [20200521120000, true],
    ['Thu May 21 12:00:00 2020', true],
    ['21/05/2020 12:00:00', true],
    ['5/21/2020 12:00:00 PM', true],
    [`/Date(${noon * 1e3})/`, false],
    [{ $date: noon * 1e3 }, false],
    [{ $date: '2020-05-21T12:00:00Z' }, false],
    [{ seconds: noon, nanos: 0 }, false],
    [{ seconds: String(noon) }, false],
  ] as const) {
    t.same(at(value), [noon, isLocal], JSON.stringify(value))
  }
  t.same(at('1/2/2020 12:00:00 AM'), [Date.UTC(2020, 0, 2) / 1e3, true])
  t.same(at('05/06/2020 12:00:00'), [1], 'nobody knows which is the month: no time, and no series either')
  t.same(at('09:21:30 12/05/2020'), [1])
})
