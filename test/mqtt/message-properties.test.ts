import mqttPacket, { type IPublishPacket } from 'mqtt-packet'
import t from 'tap'
import {
  decodeProperties,
  encodeProperties,
  type MessageProperties,
  propertyId,
} from '../../src/mqtt/message-properties.js'

const texts = [
  '',
  'a',
  'text/plain; charset=utf-8',
  'gerät',
  '温度',
  '😀',
  '\uFFFD',
  '\ufeffa',
  '__proto__',
  'x'.repeat(9_000),
]

const whole: MessageProperties = {
  payloadFormat: 1,
  contentType: 'application/json',
  responseTopic: 'replies/gerät',
  correlationData: Buffer.from([0, 1, 255]),
  userProperties: [
    ['b', '2'],
    ['a', '1'],
    ['b', '1'],
    ['__proto__', 'x'],
    ['constructor', ''],
    ['', 'toString'],
    ['b', '2'],
  ],
}

/** Those properties of a PUBLISH, as mqtt-packet reads them. */
function asPublish(bytes: Buffer): IPublishPacket {
  const length: number[] = []
  for (let rest = bytes.length; ; rest >>= 7) {
    length.push(rest > 127 ? (rest & 127) | 128 : rest)
    if (rest < 128) break
  }
  const body = Buffer.concat([Buffer.from([0, 1, 0x74]), Buffer.from(length), bytes])
  const remaining: number[] = []
  for (let rest = body.length; ; rest >>= 7) {
    remaining.push(rest > 127 ? (rest & 127) | 128 : rest)
    if (rest < 128) break
  }
  const read: IPublishPacket[] = []
  const parser = mqttPacket.parser({ protocolVersion: 5 })
  parser.on('packet', packet => read.push(packet as IPublishPacket))
  parser.parse(Buffer.concat([Buffer.from([0x30]), Buffer.from(remaining), body]))
  return read[0] as IPublishPacket
}

/** The bytes of properties in a PUBLISH that mqtt-packet writes. */
function fromPublish(properties: NonNullable<IPublishPacket['properties']>): Buffer {
  const packet = { cmd: 'publish', topic: 't', payload: '', qos: 0, retain: false, dup: false, properties } as const
  const bytes = mqttPacket.generate(packet, { protocolVersion: 5 })
  const afterLength = (at: number) => {
    while (((bytes[at] as number) & 128) !== 0) at++
    return at + 1
  }
  return bytes.subarray(afterLength(afterLength(1) + 3))
}

t.test('they come back as they were, user properties in their order and as often as they were', async t => {
  const cases: MessageProperties[] = [
    whole,
    { payloadFormat: 0 },
    { correlationData: Buffer.alloc(0) },
    { correlationData: Buffer.alloc(65_535, 7) },
    ...texts.map(text => ({ contentType: text, responseTopic: text })),
    { userProperties: texts.flatMap(name => texts.map(value => [name, value] as const)) },
  ]
  for (const properties of cases) {
    const encoded = encodeProperties(properties)
    t.strictSame(encoded && decodeProperties(encoded), properties)
  }
  t.equal(encodeProperties({}), undefined)
  t.equal(encodeProperties({ userProperties: [] }), undefined)
  t.strictSame(decodeProperties(Buffer.alloc(0)), {})
  t.throws(() => encodeProperties({ contentType: 'x'.repeat(65_536) }), RangeError)
  t.throws(() => encodeProperties({ correlationData: Buffer.alloc(65_536) }), RangeError)
  t.throws(() => encodeProperties({ userProperties: [['ä'.repeat(32_768), '']] }), RangeError)
})

t.test('mqtt-packet reads what we write, and we read what it writes', async t => {
  const { properties } = asPublish(encodeProperties(whole) as Buffer)
  t.equal(properties?.payloadFormatIndicator, true)
  t.equal(properties?.contentType, whole.contentType)
  t.equal(properties?.responseTopic, whole.responseTopic)
  t.same(properties?.correlationData, whole.correlationData)
  const read = properties?.userProperties as Record<string, string | string[]>
  t.same(read.a, '1')
  t.same(read.b, ['2', '1', '2'])
  const written = fromPublish({
    payloadFormatIndicator: true,
    contentType: 'text/plain',
    responseTopic: 'r/ä',
    correlationData: Buffer.from('42'),
    userProperties: { a: ['1', '2'], ö: '3' },
  })
  t.strictSame(decodeProperties(written), {
    payloadFormat: 1,
    contentType: 'text/plain',
    responseTopic: 'r/ä',
    correlationData: Buffer.from('42'),
    userProperties: [
      ['a', '1'],
      ['a', '2'],
      ['ö', '3'],
    ],
  })
})

t.test('names that objects have already are names like others', async t => {
  const names = ['__proto__', 'constructor', 'toString', 'hasOwnProperty', '!']
  const encoded = encodeProperties({ userProperties: names.map(name => [name, name]) }) as Buffer
  const decoded = decodeProperties(encoded)
  t.same(
    decoded?.userProperties?.map(([name]) => name),
    names,
  )
  t.equal(Object.getPrototypeOf(decoded), Object.prototype)
  t.equal(({} as Record<string, unknown>).x, undefined)
})

t.test('what MQTT does not allow is undefined and never a throw', async t => {
  const text = (id: number, bytes: string | Buffer) => {
    const field = Buffer.from(bytes)
    return Buffer.concat([Buffer.from([id, field.length >> 8, field.length & 255]), field])
  }
  const { payloadFormat, contentType, responseTopic, correlationData, user } = propertyId
  const refused: [attempt: string, bytes: Buffer][] = [
    ['a payload format of 2', Buffer.from([payloadFormat, 2])],
    ['a payload format without its byte', Buffer.from([payloadFormat])],
    ['two payload formats', Buffer.from([payloadFormat, 0, payloadFormat, 0])],
    ['two content types', Buffer.concat([text(contentType, ''), text(contentType, '')])],
    ['two response topics', Buffer.concat([text(responseTopic, 'a'), text(responseTopic, 'a')])],
    ['correlation data twice', Buffer.concat([text(correlationData, ''), text(correlationData, '')])],
    ['a user property without its value', text(user, 'a')],
    ['a text that is longer than what there is', Buffer.from([contentType, 0xff, 0xff, 0x61])],
    ['a value that is longer than what there is', Buffer.concat([text(user, 'a'), Buffer.from([0, 2, 0x61])])],
    ['half a length', Buffer.from([contentType, 0])],
    ['U+0000 in a content type', text(contentType, 'a\0')],
    ['U+0000 in a value', Buffer.concat([text(user, 'a'), Buffer.from([0, 1, 0])])],
    ['ill-formed UTF-8', text(contentType, Buffer.from([0xff]))],
    ['an overlong slash', text(responseTopic, Buffer.from([0xc0, 0xaf]))],
    ['half a surrogate pair', text(contentType, Buffer.from([0xed, 0xa0, 0x80]))],
    ['UTF-8 that is cut', text(contentType, Buffer.from([0xe2, 0x82]))],
    ['the end of the replacement character', text(contentType, Buffer.from([0xef, 0xbf, 0xbd, 0x80]))],
    ['the message expiry, which does not travel', Buffer.from([propertyId.messageExpiry, 0, 0, 0, 1])],
    ['a subscription identifier', Buffer.from([propertyId.subscriptionId, 1])],
    ['a topic alias', Buffer.from([propertyId.topicAlias, 0, 1])],
    ['an identifier that there is not', text(0x7f, 'a')],
  ]
  for (const [attempt, bytes] of refused) t.equal(decodeProperties(bytes), undefined, attempt)
})

t.test('damaged or cut: undefined, or properties that are the same once more', async t => {
  const encoded = encodeProperties(whole) as Buffer
  let read = 0
  const check = (bytes: Buffer) => {
    const decoded = decodeProperties(bytes)
    if (!decoded) return
    read++
    const again = encodeProperties(decoded)
    if (again) t.strictSame(decodeProperties(again), decoded)
  }
  for (let length = 0; length <= encoded.length; length++) check(encoded.subarray(0, length))
  for (let at = 0; at < encoded.length; at++) {
    for (const value of [0x00, 0x01, 0x26, 0x7f, 0x80, 0xff]) {
      const damaged = Buffer.from(encoded)
      damaged[at] = value
      check(damaged)
    }
  }
  t.ok(read > 0)
})
