/**
 * Packets of MQTT 5 and what answers them, from the specification: for every reason code, every property, and every
 * way to be malformed. A table for the live hub.
 */

import { packet } from './packets.js'

export interface Row {
  readonly name: string
  /** Of the MQTT 5.0 OASIS standard. */
  readonly clause: string
  readonly bytes: Buffer
  /**
   * What comes, as {@link answerOf} writes it, as a regular expression: the standard does not always say which of two
   * codes it is. Empty: nothing.
   */
  readonly answer: string
}

/** Rows by what happens around them. */
export interface Rows {
  /** The bytes are the first on their connection, which is closed after the answer. */
  readonly refused: readonly Row[]
  /** The bytes are the first, and the connection stays open. */
  readonly accepted: readonly Row[]
  /** Sent by who is connected; then closed. */
  readonly ends: readonly Row[]
  /** Sent by who is connected; it stays so. */
  readonly stays: readonly Row[]
}

const hex = (digits: string) => Buffer.from(digits.replaceAll(' ', ''), 'hex')
/** A text or data with two bytes of length. */
export const field = (value: string | Buffer) => {
  const bytes = Buffer.from(value)
  return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 0xff]), bytes])
}
const join = (...parts: readonly (string | Buffer)[]) =>
  Buffer.concat(parts.map(part => (typeof part === 'string' ? hex(part) : part)))

/** Properties with their length in front. */
export function props(...parts: readonly (string | Buffer)[]): Buffer {
  const all = join(...parts)
  // The body of a packet begins with its length in the same form.
  return packet(0, all).subarray(1)
}

/** CONNECT with a clean start: flags as hex, properties with their length, then client id and the rest. */
export const connect = (flags: string, properties: Buffer, ...fields: (string | Buffer)[]) =>
  packet(0x10, field('MQTT'), '05', flags, '0000', properties, ...fields)
const none = props()
const named = (name = '') => field(`row${name}`)

export const publish = (qos: 0 | 1 | 2, topic: string | Buffer, properties = none, payload = '78') =>
  packet(0x30 | (qos << 1), field(topic), qos > 0 ? '0001' : '', properties, payload)
export const subscribe = (filter: string | Buffer, options = '00', properties = none) =>
  packet(0x82, '0001', properties, field(filter), options)
const unsubscribe = (filter: string | Buffer, properties = none) => packet(0xa2, '0001', properties, field(filter))

/** One of every property there is, with a good value. (§2.2.2.2) */
const properties = {
  'payload format': '01 01',
  'message expiry': '02 0000003c',
  'content type': '03 0001 61',
  'response topic': '08 0001 61',
  'correlation data': '09 0001 61',
  'subscription identifier': '0b 01',
  'session expiry': '11 0000003c',
  'assigned client id': '12 0001 61',
  'server keep alive': '13 003c',
  'authentication method': '15 0001 61',
  'authentication data': '16 0001 61',
  'request problem information': '17 01',
  'will delay': '18 00000001',
  'request response information': '19 01',
  'response information': '1a 0001 61',
  'server reference': '1c 0001 61',
  'reason string': '1f 0001 61',
  'receive maximum': '21 000a',
  'topic alias maximum': '22 000a',
  'topic alias': '23 0001',
  'maximum QoS': '24 01',
  'retain available': '25 01',
  'user property': '26 0001 61 0001 62',
  'maximum packet size': '27 00001000',
  'wildcards available': '28 01',
  'subscription identifiers available': '29 01',
  'shared subscriptions available': '2a 01',
} as const
type Name = keyof typeof properties

const travelling = ['payload format', 'message expiry', 'content type', 'response topic', 'correlation data'] as const

/** Every packet with properties that a client sends, and which may be in it. */
const carriers: readonly (readonly [name: string, clause: string, may: readonly Name[], of: (p: Buffer) => Buffer])[] =
  [
    [
      'CONNECT',
      '§3.1.2.11',
      [
        'session expiry',
        'receive maximum',
        'maximum packet size',
        'topic alias maximum',
        'request response information',
        'request problem information',
        'authentication method',
        'authentication data',
      ],
      p => connect('02', p, named()),
    ],
    ['a will', '§3.1.3.2', ['will delay', ...travelling], p => connect('06', none, named(), p, field('w'), field('x'))],
    ['PUBLISH', '§3.3.2.3', ['topic alias', ...travelling], p => publish(0, 'a', p)],
    ['PUBLISH QoS 2', '§3.3.2.3', ['topic alias', ...travelling], p => publish(2, 'a', p)],
    ['PUBACK', '§3.4.2.2', ['reason string'], p => packet(0x40, '0001 00', p)],
    ['PUBREC', '§3.5.2.2', ['reason string'], p => packet(0x50, '0001 00', p)],
    ['PUBREL', '§3.6.2.2', ['reason string'], p => packet(0x62, '0001 00', p)],
    ['PUBCOMP', '§3.7.2.2', ['reason string'], p => packet(0x70, '0001 00', p)],
    ['SUBSCRIBE', '§3.8.2.1', ['subscription identifier'], p => subscribe('a', '00', p)],
    ['UNSUBSCRIBE', '§3.10.2.1', [], p => unsubscribe('a', p)],
    ['DISCONNECT', '§3.14.2.2', ['session expiry', 'reason string'], p => packet(0xe0, '00', p)],
  ]

/** Known to be in such a packet, but not when a client sends it: parsed or not, it is an error. */
const serversOwn = new Set(['PUBLISH subscription identifier', 'DISCONNECT server reference'])

/** Properties that are no properties. */
const brokenProperties: readonly (readonly [name: string, bytes: Buffer, clause: string])[] = [
  ['a property length beyond the end', hex('7f'), '§2.2.2.1'],
  ['a property length of five bytes', hex('ffffffff01'), '§1.5.5'],
  ['a property length in more bytes than it takes', hex('8000'), 'MQTT-1.5.5-1'],
  ['a property that is cut', props('26 0001'), '§2.2.2'],
  ['an unknown property 7f', props('7f 01'), '§2.2.2.2'],
  ['an unknown property 00', props('00'), '§2.2.2.2'],
  ['an unknown property 8001', props('80 01 00'), '§2.2.2.2'],
  ['a user property that is no UTF-8', props('26 0001 ff 0001 61'), 'MQTT-1.5.4-1'],
  ['a user property with a surrogate', props('26 0001 61 0003 eda080'), 'MQTT-1.5.4-1'],
  ['a user property with U+0000', props('26 0001 00 0001 61'), 'MQTT-1.5.4-2'],
]

function propertyRows(): Rows {
  const refused: Row[] = []
  const ends: Row[] = []
  for (const [name, clause, may, of] of carriers) {
    const isConnect = name === 'CONNECT' || name === 'a will'
    const rows = isConnect ? refused : ends
    const end = isConnect ? 'CONNACK' : 'DISCONNECT'
    for (const [property, bytes] of Object.entries(properties)) {
      if (property === 'user property') continue
      if (may.some(one => one === property)) {
        const twice = of(props(bytes, bytes))
        rows.push({ name: `${name}: ${property} twice`, clause, bytes: twice, answer: `${end} 82` })
      } else {
        const code = serversOwn.has(`${name.replace(' QoS 2', '')} ${property}`) ? '8[12]' : '81'
        const wrong = of(props(bytes))
        rows.push({ name: `${name}: no place for ${property}`, clause, bytes: wrong, answer: `${end} ${code}` })
      }
    }
    for (const [broken, bytes, why] of brokenProperties) {
      rows.push({ name: `${name}: ${broken}`, clause: why, bytes: of(bytes), answer: `${end} 81` })
    }
  }
  return { refused, ends, accepted: [], stays: [] }
}

type Short = readonly [name: string, bytes: Buffer, clause: string, answer: string]
const rowsOf = (all: readonly Short[]): Row[] =>
  all.map(([name, bytes, clause, answer]) => ({ name, bytes, clause, answer }))

const malformed = 'DISCONNECT 81'
const error = 'DISCONNECT 82'
const either = 'DISCONNECT 8[12]'
const deep = 'x/'.repeat(40)
/** Texts that are no topic filters. */
const noFilters = [
  'a/#/b',
  '#/a',
  'a#',
  'a/b+',
  '',
  '$share',
  '$share/',
  '$share/g',
  '$share/g/',
  '$share//a',
  '$share/g+/a',
  '$share/#/a',
  '$share/g/a#',
]
const illFormed: readonly (readonly [name: string, bytes: Buffer, clause: string])[] = [
  ['bytes that are no UTF-8', hex('61ff'), 'MQTT-1.5.4-1'],
  ['a surrogate', hex('eda080'), 'MQTT-1.5.4-1'],
  ['U+0000', hex('610062'), 'MQTT-1.5.4-2'],
]

/** One property more than 16,384 bytes of them. */
const tooMany = props(...new Array(3_277).fill(properties['user property'].replaceAll('0001 61 0001 62', '0000 0000')))
/** A remaining length of 0 to 127 in two bytes. */
const spare = (bytes: Buffer) =>
  join(bytes.subarray(0, 1), Buffer.from([bytes.readUInt8(1) | 0x80, 0]), bytes.subarray(2))

const refused: readonly Short[] = [
  ['a remaining length in more bytes than it needs', spare(connect('02', none, named())), 'MQTT-1.5.5-1', 'CONNACK 81'],
  [
    'a will on a topic of the hub',
    connect('06', none, named(), none, field('$hub/presence/x'), field('x')),
    'MQTT-4.7.2-1',
    'CONNACK 87',
  ],
  ['a level above 5', packet(0x10, field('MQTT'), '06 02 0000 00', named()), 'MQTT-3.1.2-2', '3.1.1 CONNACK 1'],
  ['AUTH first', hex('f0 00'), 'MQTT-3.1.0-1', ''],
  ['PUBLISH first', publish(0, 'a'), 'MQTT-3.1.0-1', ''],
  ['DISCONNECT first', hex('e0 00'), 'MQTT-3.1.0-1', ''],
  ['the reserved flag', connect('03', none, named()), 'MQTT-3.1.2-3', 'CONNACK 8[12]'],
  ['will QoS 3', connect('1e', none, named(), none, field('w'), field('x')), 'MQTT-3.1.2-12', 'CONNACK 8[12]'],
  ['will QoS and no will', connect('0a', none, named()), 'MQTT-3.1.2-11', 'CONNACK 8[12]'],
  ['will retain and no will', connect('22', none, named()), 'MQTT-3.1.2-13', 'CONNACK 8[12]'],
  ['cut after the keep alive', packet(0x10, field('MQTT'), '05 02 0000'), '§3.1.2.11', 'CONNACK 81'],
  ['no client id', connect('02', none), 'MQTT-3.1.3-3', 'CONNACK 81'],
  ['no will topic', connect('06', none, named(), none), 'MQTT-3.1.3-11', 'CONNACK 81'],
  ['no user name', connect('82', none, named()), 'MQTT-3.1.2-17', 'CONNACK 81'],
  ['no password', connect('42', none, named()), 'MQTT-3.1.2-19', 'CONNACK 81'],
  ['bytes behind its end', connect('02', none, named(), '00'), 'MQTT-3.1.2-19', 'CONNACK 81'],
  ['4,097 bytes of client id', connect('02', none, field('x'.repeat(4_097))), 'MQTT-3.1.3-8', 'CONNACK 85'],
  [
    'a will to a filter',
    connect('06', none, named(), none, field('w/#'), field('x')),
    '§3.1.3.3',
    'CONNACK (8[12]|90)',
  ],
  ['a will to no topic', connect('06', none, named(), none, field(''), field('x')), '§3.1.3.3', 'CONNACK (8[12]|90)'],
  ['receive maximum 0', connect('02', props('21 0000'), named()), '§3.1.2.11.3', 'CONNACK 82'],
  ['maximum packet size 0', connect('02', props('27 00000000'), named()), '§3.1.2.11.4', 'CONNACK 82'],
  ['request response information 2', connect('02', props('19 02'), named()), '§3.1.2.11.6', 'CONNACK 82'],
  ['request problem information 2', connect('02', props('17 02'), named()), '§3.1.2.11.7', 'CONNACK 82'],
  ['authentication data and no method', connect('02', props('16 0001 61'), named()), '§3.1.2.11.10', 'CONNACK 82'],
  ['an unknown authentication method', connect('02', props('15', field('X')), named()), 'MQTT-4.12.0-1', 'CONNACK 8c'],
  [
    'a will with a payload format of 2',
    connect('06', none, named(), props('01 02'), field('w'), field('x')),
    '§3.1.3.2.3',
    'CONNACK 8[12]',
  ],
  [
    'a will whose response topic is a filter',
    connect('06', none, named(), props('08', field('a/+')), field('w'), field('x')),
    '§3.1.3.2.6',
    'CONNACK (8[12]|90)',
  ],
  ...illFormed.map(
    ([what, bytes, clause]): Short => [`client id: ${what}`, connect('02', none, field(bytes)), clause, 'CONNACK 81'],
  ),
  ...illFormed.map(
    ([what, bytes, clause]): Short => [
      `will topic: ${what}`,
      connect('06', none, named(), none, field(bytes), field('x')),
      clause,
      'CONNACK 81',
    ],
  ),
  ...illFormed.map(
    ([what, bytes, clause]): Short => [
      `user name: ${what}`,
      connect('82', none, named(), field(bytes)),
      clause,
      'CONNACK 81',
    ],
  ),
]

const accepted: readonly Short[] = [
  ['an empty client id', connect('02', none, field('')), 'MQTT-3.1.3-6', 'CONNACK 00'],
  [
    'an empty client id, and a session to keep',
    connect('00', props('11 0000003c'), field('')),
    'MQTT-3.1.3-6',
    'CONNACK 00',
  ],
  ['a password without a name', connect('42', none, field('nameless'), field('secret')), '§3.1.2.9', 'CONNACK 00'],
  ['4,096 bytes of client id', connect('02', none, field('x'.repeat(4_096))), '§3.1.3.1', 'CONNACK 00'],
  [
    'a user property twice',
    connect('02', props(properties['user property'], properties['user property']), field('twice')),
    '§3.1.2.11.8',
    'CONNACK 00',
  ],
  [
    'a will with all it may have',
    connect(
      '06',
      none,
      field('testator'),
      props(
        '18 00000001 01 01 02 00000005 03',
        field('t'),
        '08',
        field('r'),
        '09',
        field('c'),
        '26 0000 0000 26 0000 0000',
      ),
      field('w'),
      field('x'),
    ),
    '§3.1.3.2',
    'CONNACK 00',
  ],
]

const ends: readonly Short[] = [
  ['a second CONNECT', connect('02', none, named(' 2')), 'MQTT-3.1.0-2', error],
  ['type 0', hex('00 00'), '§2.1.2', either],
  ['CONNACK', hex('20 03 000000'), '§2.1.2', either],
  ['SUBACK', hex('90 04 0001 0000'), '§2.1.2', either],
  ['UNSUBACK', hex('b0 04 0001 0000'), '§2.1.2', either],
  ['PINGRESP', hex('d0 00'), '§2.1.2', either],
  ['AUTH without a method in CONNECT', hex('f0 00'), '§4.12', either],
  ['AUTH to authenticate again', packet(0xf0, '19', props('15', field('SCRAM-SHA-256'))), '§4.12.1', error],
  ['a remaining length of five bytes', hex('30 ffffffff 7f'), '§1.5.5', malformed],
  ['a remaining length in more bytes than it needs', hex('c0 80 00'), 'MQTT-1.5.5-1', malformed],
  ['the same of a packet with a body', spare(publish(1, 'a')), 'MQTT-1.5.5-1', malformed],
  // Whose acknowledgement does not follow DISCONNECT. [MQTT-3.14.4-1]
  ['PUBLISH, and what is malformed', join(publish(1, 'a'), 'c0 01 00'), '§4.13', `(PUBACK 1, )?${either}`],
  ...carriers.slice(4).map(([name, clause, , of]): Short => {
    return [`${name} with more properties than anybody needs`, of(tooMany), clause, 'DISCONNECT 97']
  }),
  // Flags that are not as they must be.
  ['PUBACK with flags', hex('41 02 0001'), 'MQTT-2.1.3-1', malformed],
  ['PUBREL without its flags', hex('60 02 0001'), 'MQTT-3.6.1-1', malformed],
  ['SUBSCRIBE without its flags', packet(0x80, '0001 00', field('a'), '00'), 'MQTT-3.8.1-1', malformed],
  ['UNSUBSCRIBE without its flags', packet(0xa0, '0001 00', field('a')), 'MQTT-3.10.1-1', malformed],
  ['PINGREQ with flags', hex('c1 00'), 'MQTT-2.1.3-1', malformed],
  ['PINGREQ with a body', hex('c0 01 00'), '§3.12', either],
  ['DISCONNECT with flags', hex('e1 00'), 'MQTT-3.14.1-1', malformed],
  ['AUTH with flags', hex('f1 00'), 'MQTT-3.15.1-1', either],
  // PUBLISH.
  ['QoS 3', packet(0x36, field('a'), '0001 00 78'), 'MQTT-3.3.1-4', malformed],
  ['DUP with QoS 0', packet(0x38, field('a'), '00 78'), 'MQTT-3.3.1-2', either],
  ['packet id 0', packet(0x32, field('a'), '0000 00 78'), 'MQTT-2.2.1-3', either],
  ['PUBLISH that ends in its topic', hex('30 03 0005 61'), '§3.3.2.1', malformed],
  ['PUBLISH that ends before its packet id', packet(0x32, field('a'), '00'), '§3.3.2.2', malformed],
  ['PUBLISH that ends before its properties', packet(0x30, field('a')), '§3.3.2.3', malformed],
  ['topic: +, QoS 0', publish(0, 'a/+'), 'MQTT-3.3.2-2', 'DISCONNECT 90'],
  ['topic: #, QoS 1', publish(1, 'a/#'), 'MQTT-3.3.2-2', 'DISCONNECT 90'],
  ['topic: in a word, QoS 2', publish(2, 'a#b'), 'MQTT-3.3.2-2', 'DISCONNECT 90'],
  ['topic: too long', publish(1, 'x'.repeat(4_097)), '§3.3.2.1', 'DISCONNECT 90'],
  ['topic: too deep', publish(1, deep), '§3.3.2.1', 'DISCONNECT 90'],
  ['topic: none, and no alias', publish(1, ''), '§3.3.2.1', error],
  ['topic: none, and no alias, QoS 0', publish(0, ''), '§3.3.2.1', error],
  ...illFormed.map(([what, bytes, clause]): Short => [`topic: ${what}`, publish(1, bytes), clause, malformed]),
  ['topic alias 0', publish(0, 'a', props('23 0000')), 'MQTT-3.3.2-8', 'DISCONNECT 94'],
  ['topic alias above the maximum', publish(1, 'a', props('23 0041')), 'MQTT-3.3.2-9', 'DISCONNECT 94'],
  ['topic alias 65,535', publish(2, 'a', props('23 ffff')), 'MQTT-3.3.2-9', 'DISCONNECT 94'],
  ['topic alias that is not known', publish(1, '', props('23 0005')), '§3.3.2.3.4', error],
  ['payload format 2', publish(1, 'a', props('01 02')), '§3.3.2.3.2', either],
  [
    'response topic with a wildcard',
    publish(1, 'a', props('08', field('a/#'))),
    'MQTT-3.3.2-14',
    'DISCONNECT (8[12]|90)',
  ],
  ['response topic that is no UTF-8', publish(1, 'a', props('08 0001 ff')), 'MQTT-3.3.2-13', malformed],
  ['content type that is no UTF-8', publish(1, 'a', props('03 0001 ff')), 'MQTT-3.3.2-19', malformed],
  // Acknowledgements.
  ...([0x40, 0x50, 0x62, 0x70] as const).flatMap((first): Short[] => {
    const name = { 64: 'PUBACK', 80: 'PUBREC', 98: 'PUBREL', 112: 'PUBCOMP' }[first]
    return [
      [`${name} of one byte`, packet(first, '01'), '§3.4.2', malformed],
      [`${name} of packet id 0`, packet(first, '0000'), 'MQTT-2.2.1-3', either],
      [`${name} with a code there is not`, packet(first, '0001 7f'), '§3.4.2.1', either],
      [`${name} with bytes behind its end`, packet(first, '0001 00 00 00'), '§3.4.2', malformed],
    ]
  }),
  ['PUBREL with the code of another packet', hex('62 03 0001 87'), 'MQTT-3.6.2-1', either],
  ['PUBCOMP with the code of another packet', hex('70 03 0001 87'), 'MQTT-3.7.2-1', either],
  // SUBSCRIBE and UNSUBSCRIBE.
  ['SUBSCRIBE to nothing', packet(0x82, '0001 00'), 'MQTT-3.8.3-2', error],
  ['SUBSCRIBE with packet id 0', packet(0x82, '0000 00', field('a'), '00'), 'MQTT-2.2.1-3', either],
  ['SUBSCRIBE that ends before its options', packet(0x82, '0001 00', field('a')), '§3.8.3', malformed],
  ['SUBSCRIBE with reserved options', subscribe('a', '40'), 'MQTT-3.8.3-5', malformed],
  ['SUBSCRIBE with reserved options, the other bit', subscribe('a', '80'), 'MQTT-3.8.3-5', malformed],
  ['SUBSCRIBE with QoS 3', subscribe('a', '03'), '§3.8.3.1', error],
  ['SUBSCRIBE with retain handling 3', subscribe('a', '30'), '§3.8.3.1', error],
  ['SUBSCRIBE with subscription identifier 0', subscribe('a', '00', props('0b 00')), '§3.8.2.1.2', error],
  [
    'SUBSCRIBE with a subscription identifier of five bytes',
    subscribe('a', '00', props('0b ffffffff01')),
    '§1.5.5',
    malformed,
  ],
  ['SUBSCRIBE with no local, shared', subscribe('$share/g/a', '04'), 'MQTT-3.8.3-4', error],
  ['SUBSCRIBE with no local, shared by nobody', subscribe('$share', '04'), 'MQTT-3.8.3-4', error],
  ...illFormed.map(([what, bytes, clause]): Short => [`filter: ${what}`, subscribe(bytes), clause, malformed]),
  ['UNSUBSCRIBE from nothing', packet(0xa2, '0001 00'), 'MQTT-3.10.3-2', error],
  ['UNSUBSCRIBE with packet id 0', packet(0xa2, '0000 00', field('a')), 'MQTT-2.2.1-3', either],
  ...illFormed.map(([what, bytes, clause]): Short => [`UNSUBSCRIBE: ${what}`, unsubscribe(bytes), clause, malformed]),
  // DISCONNECT. Who says it well is just let go.
  ['DISCONNECT', hex('e0 00'), 'MQTT-3.14.4-3', ''],
  ['DISCONNECT with a code and no more', hex('e0 01 00'), '§3.14.2.2', ''],
  ['DISCONNECT with will', hex('e0 02 04 00'), '§3.14.2.1', ''],
  [
    'DISCONNECT with all it may have',
    packet(0xe0, '00', props('11 00000000 1f', field('so long'), '26 0000 0000')),
    '§3.14.2',
    '',
  ],
  ['DISCONNECT with a code there is not', hex('e0 02 7f 00'), 'MQTT-3.14.2-1', `(${either})?`],
  [
    'DISCONNECT with a session expiry when there was none',
    packet(0xe0, '00', props('11 0000003c')),
    '§3.14.2.2.2',
    error,
  ],
  ['DISCONNECT with bytes behind its end', hex('e0 03 00 00 00'), '§3.14.2', malformed],
  ...noFilters.map((filter): Short => [`SUBSCRIBE to "${filter}"`, subscribe(filter, '01'), '§4.7, §4.8.2', error]),
  ...noFilters.map((filter): Short => [`UNSUBSCRIBE from "${filter}"`, unsubscribe(filter), '§4.7, §4.8.2', error]),
  [
    'SUBSCRIBE to good and malformed filters',
    packet(0x82, '0001', none, field('sub/a'), '01', field('sub/#/b'), '00', field('sub/c'), '02'),
    'MQTT-4.7.1-1',
    error,
  ],
  ...(['first', 'last'] as const).map((place): Short => {
    const said = place === 'first' ? props('23 0001', tooMany.subarray(3)) : props(tooMany.subarray(3), '23 0001')
    const both = join(publish(0, 'row/a', said), publish(1, '', props('23 0001')))
    return [`a topic alias, ${place} in a PUBLISH that was refused, and its use`, both, '§3.3.2.3.4', error]
  }),
  [
    'a topic alias that a refused PUBLISH has given to another topic, and its use',
    join(
      publish(0, 'row/a', props('23 0001')),
      publish(0, 'row/b', props('23 0001', tooMany.subarray(3))),
      publish(1, '', props('23 0001')),
    ),
    '§3.3.2.3.4',
    error,
  ],
]

const stays: readonly Short[] = [
  ['PINGREQ', hex('c0 00'), 'MQTT-3.12.4-1', 'PINGRESP'],
  ['PUBLISH QoS 1', publish(1, 'row/a'), 'MQTT-4.3.2-4', 'PUBACK 1'],
  ['PUBLISH QoS 2', publish(2, 'row/a'), 'MQTT-4.3.3-8', 'PUBREC 1'],
  ['PUBLISH QoS 2 and PUBREL', join(publish(2, 'row/a'), '62 02 0001'), 'MQTT-4.3.3-11', 'PUBREC 1, PUBCOMP 1'],
  ['PUBLISH without a payload', publish(1, 'row/a', none, ''), '§3.3.3', 'PUBACK 1'],
  ['topic alias 64', publish(1, 'row/a', props('23 0040')), '§3.3.2.3.4', 'PUBACK 1'],
  [
    'PUBLISH with all it may have',
    publish(1, 'row/a', props(...travelling.map(name => properties[name]), '23 0001', '26 0000 0000 26 0000 0000')),
    '§3.3.2.3',
    'PUBACK 1',
  ],
  ['$ topic, QoS 0', publish(0, '$hub/last/row'), 'MQTT-4.7.2-1', ''],
  ['$ topic, QoS 1', publish(1, '$hub/last/row'), 'MQTT-3.3.5-2', 'PUBACK 1 87'],
  ['$ topic, QoS 2', publish(2, '$SYS/row'), 'MQTT-3.3.5-2', 'PUBREC 1 87'],
  ['$ topic, QoS 2, and PUBREL', join(publish(2, '$x'), '62 02 0001'), '§4.3.3', 'PUBREC 1 87, PUBCOMP 1 92'],
  ['PUBREL of what is not known', hex('62 02 0007'), '§3.7.2.1', 'PUBCOMP 7 92'],
  ['PUBREC of what is not known', hex('50 02 0007'), '§3.6.2.1', 'PUBREL 7 92'],
  ['PUBREC that refuses what is not known', hex('50 03 0007 80'), 'MQTT-4.3.3-4', ''],
  ['PUBACK of what is not known', hex('40 02 0007'), '§3.4', ''],
  ['PUBACK of what is not known, with a code', hex('40 03 0007 10'), '§3.4.2.1', ''],
  [
    'PUBACK of what is not known, with all it may have',
    packet(0x40, '0007 87', props('1f 0001 61', properties['user property'])),
    '§3.4.2',
    '',
  ],
  ['PUBCOMP of what is not known', hex('70 02 0007'), '§3.7', ''],
  ['PUBCOMP of what is not known, with a code', hex('70 04 0007 92 00'), '§3.7.2.1', ''],
  ...['00', '01', '02'].map(
    (qos): Short => [`SUBSCRIBE QoS ${qos}`, subscribe('row/x', qos), 'MQTT-3.8.4-7', `SUBACK 1 ${qos}`],
  ),
  ['SUBSCRIBE with all options', subscribe('row/x', '2e', props('0b ffffff7f')), '§3.8.3.1', 'SUBACK 1 02'],
  ...[deep, `$share/g/${deep}`, 'x'.repeat(4_097)].map(
    (filter): Short => [`filter ${filter.slice(0, 20)}`, subscribe(filter, '01'), '§3.9.3', 'SUBACK 1 8f'],
  ),
  [
    'SUBSCRIBE to good and bad',
    packet(0x82, '0001', none, field('sub/a'), '01', field(deep), '00', field('sub/c'), '02'),
    'MQTT-3.9.3-1',
    'SUBACK 1 01 8f 02',
  ],
  ['$share', subscribe('$share/g/sub/+', '01'), '§4.8.2', 'SUBACK 1 01'],
  ['UNSUBSCRIBE from what is not there', unsubscribe('row/none'), '§3.11.3', 'UNSUBACK 1 11'],
  ...([1, 2] as const).map((qos): Short => {
    const said = props('23 0001', tooMany.subarray(3))
    const answer = `PUB${qos === 1 ? 'ACK' : 'REC'} 1 97`
    return [`PUBLISH QoS ${qos} with an alias and too many properties`, publish(qos, 'row/a', said), '§4.9', answer]
  }),
  [
    'SUBSCRIBE, and UNSUBSCRIBE from that and another',
    join(subscribe('row/u'), packet(0xa2, '0002', none, field('row/u'), field('row/none'), field('row/u'))),
    'MQTT-3.11.3-1',
    'SUBACK 1 00, UNSUBACK 2 00 11 11',
  ],
  [
    'SUBSCRIBE shared, and UNSUBSCRIBE from it',
    join(
      subscribe('$share/g/row/u'),
      packet(0xa2, '0002', none, field('row/u'), field('$share/h/row/u'), field('$share/g/row/u')),
    ),
    'MQTT-3.10.4-1',
    'SUBACK 1 00, UNSUBACK 2 11 11 00',
  ],
]

const generated = propertyRows()

export const mqtt5Rows: Rows = {
  refused: [...rowsOf(refused), ...generated.refused],
  accepted: rowsOf(accepted),
  ends: [...rowsOf(ends), ...generated.ends],
  stays: rowsOf(stays),
}
