import { isDeepStrictEqual } from 'node:util'
import mqttPacket, { type Packet } from 'mqtt-packet'
import t from 'tap'
import type { ConnectPacket } from '../../src/mqtt/codec.js'
import { Framer } from '../../src/mqtt/framer.js'
import { MalformedPacket, packetType } from '../../src/mqtt/primitives.js'
import type { ProtocolName } from '../../src/mqtt/v3.js'
import { Mqtt5 } from '../../src/mqtt/v5.js'
import {
  type Content,
  connectPacket,
  contentOf,
  malformedCases,
  mutate,
  Random,
  readNext,
  someConnect,
  somePacket,
} from '../fixtures/packets.js'
import {
  authFaults,
  type Content5,
  connectFaults,
  faultOf,
  laterFaults,
  read5,
  someConnect5,
  somePacket5,
} from '../fixtures/packets5.js'

/*
 * Streams of packets with something wrong in them, perhaps, in chunks of any size. The same streams again:
 * FUZZ_SEED=… node dist/test/broker/fuzz.test.js; longer: FUZZ_CASES=….
 */

const seed = Number(process.env.FUZZ_SEED ?? Date.now() % 1_000_000)
/** A longer search: FUZZ_CASES=1000000. */
const cases = Number(process.env.FUZZ_CASES ?? 20_000)
const limit = 30_000

interface Reading {
  /** Each with the bytes it was read from. */
  readonly packets: { readonly content: Content; readonly bytes: Buffer }[]
  readonly fault: string | undefined
}

/** Reads a stream in these chunks; `asks` says after which of them packets are taken. */
function read(
  chunks: readonly Buffer[],
  protocol: ProtocolName | undefined,
  asks: (chunk: number) => boolean,
): Reading {
  const framer = new Framer(limit)
  const packets: Reading['packets'] = []
  let known = protocol
  let held = 0
  try {
    for (const [i, chunk] of chunks.entries()) {
      framer.push(chunk)
      held += chunk.length
      if (framer.buffered !== held) throw new Error(`${framer.buffered} bytes held, and not ${held}`)
      if (!asks(i) && i < chunks.length - 1) continue
      for (;;) {
        const content = readNext(framer, known)
        if (!content) break
        known ??= content.protocol as ProtocolName
        const body = framer.buffer.subarray(framer.start, framer.end)
        held -= 1 + (body.length < 128 ? 1 : body.length < 16_384 ? 2 : 3) + body.length
        // A remaining length may have been written with more bytes than it needs.
        if (framer.buffered > held) throw new Error(`${framer.buffered} bytes held, and not ${held}`)
        held = framer.buffered
        packets.push({ content, bytes: withHeader(framer.header, body) })
      }
    }
  } catch (error) {
    if (!(error instanceof MalformedPacket)) throw error
    return { packets, fault: `${error.clause} ${error.message}` }
  }
  return { packets, fault: undefined }
}

function withHeader(header: number, body: Buffer): Buffer {
  const length: number[] = []
  for (let rest = body.length; ; rest >>= 7) {
    length.push(rest > 0x7f ? (rest & 0x7f) | 0x80 : rest)
    if (rest <= 0x7f) return Buffer.concat([Buffer.from([header, ...length]), body])
  }
}

function chunksOf(random: Random, stream: Buffer): Buffer[] {
  const most = random.pick([1, 3, 20, 200, 5_000])
  const chunks: Buffer[] = []
  for (let at = 0; at < stream.length; ) {
    const size = 1 + random.below(Math.max(most, stream.length >> 8))
    chunks.push(Buffer.from(stream.subarray(at, at + size)))
    at += size
  }
  return chunks
}

/** What MQTT 3.1 allows and mqtt-packet, which reads every CONNECT as 3.1.1, does not. */
function isOnly31({ content, bytes }: Reading['packets'][number], protocol: ProtocolName | undefined): boolean {
  if (content.type === packetType.connect) return content.protocol === 3
  return protocol === 3 && [0x6a, 0x8a, 0xaa].includes(bytes[0] as number)
}

/** What mqtt-packet says otherwise about a packet that we accept; undefined when it agrees. */
function disagreement(packets: Reading['packets'], protocol: ProtocolName | undefined): unknown {
  let known = protocol
  let parser = new Reference()
  for (const one of packets) {
    known ??= one.content.protocol as ProtocolName
    const theirs = parser.parse(one.bytes)
    if (isDeepStrictEqual(theirs, one.content)) continue
    if (!(theirs instanceof Error && isOnly31(one, known)))
      return { bytes: one.bytes.toString('hex').slice(0, 1_000), ours: one.content, theirs }
    // It does not get over an error.
    parser = new Reference()
  }
  return undefined
}

class Reference {
  readonly #parser = mqttPacket.parser({ protocolVersion: 4 })
  #result: Content | Error | undefined

  constructor() {
    this.#parser.on('packet', (packet: Packet) => {
      this.#result = contentOf(packet)
    })
    this.#parser.on('error', (error: Error) => {
      this.#result = error
    })
  }

  parse(bytes: Buffer): Content | Error | undefined {
    this.#result = undefined
    this.#parser.parse(bytes)
    return this.#result
  }
}

t.test(`${cases} streams, FUZZ_SEED=${seed}`, async t => {
  const random = new Random(seed)
  const connects = Array.from({ length: 300 }, () => someConnect(random))
  const packets = Array.from({ length: 2_000 }, () => somePacket(random))
  const malformed = malformedCases.map(one => one.bytes)
  const faults = new Map<string, number>()
  const start = performance.now()
  let accepted = 0
  let refused = 0

  for (let i = 0; i < cases; i++) {
    const protocol = random.pick([undefined, undefined, 3, 4] as const)
    const several = Array.from({ length: random.below(6) }, () => random.pick(packets))
    if (random.chance(5)) several.push(random.pick(malformed))
    if (protocol === undefined) several.unshift(random.chance(30) ? connectPacket(4, 'x') : random.pick(connects))
    let stream = random.chance(5) ? random.bytes(random.below(60)) : Buffer.concat(several)
    for (let times = random.below(4); times > 0; times--) stream = mutate(random, stream, random.pick(packets))

    const whole = read([stream], protocol, () => true)
    const cut = read(chunksOf(random, stream), protocol, () => random.chance(70))
    const other = disagreement(whole.packets, protocol)
    accepted += whole.packets.length
    if (whole.fault) refused++
    const clause = whole.fault?.split(' ')[0] ?? 'none'
    faults.set(clause, (faults.get(clause) ?? 0) + 1)
    if (isDeepStrictEqual(cut, whole) && !other) continue
    t.same(cut, whole, `case ${i}: the same in chunks of any size`)
    t.same(other, undefined, `case ${i}: mqtt-packet agrees`)
    t.comment(`case ${i}, protocol ${protocol}: ${stream.toString('hex').slice(0, 2_000)}`)
    break
  }

  const seconds = (performance.now() - start) / 1_000
  t.comment(`${accepted} packets accepted, ${refused} streams refused, ${seconds.toFixed(1)} s`)
  t.comment([...faults].map(([clause, count]) => `${clause}: ${count}`).join(', '))
  if (cases >= 10_000) {
    // The mutations reach deep, and leave enough in one piece.
    t.ok(accepted > cases / 2 && refused > cases / 10, 'both are seen often')
    t.ok(faults.size > 25, `${faults.size} statements broken`)
  }
})

const limits5 = { receiveMaximum: 100, maximumPacketSize: limit, topicAliasMaximum: 8 }

/** A stream of MQTT 5 as its connection reads it: each packet, and the fault at its end. */
function read5All(chunks: readonly Buffer[]): { packets: Content5[]; fault: string | undefined } {
  const framer = new Framer(limit)
  const packets: Content5[] = []
  let wire: Mqtt5 | undefined
  const fault = faultOf(() => {
    for (const chunk of chunks) {
      framer.push(chunk)
      while (framer.next()) {
        const { header, buffer, start, end } = framer
        if (!wire && header >> 4 !== packetType.connect) throw new MalformedPacket('MQTT-3.1.0-1', 'no CONNECT')
        const content = read5(wire, header, buffer, start, end)
        if (!content) continue
        packets.push(content)
        if (wire) continue
        const connect = content as Content5 & ConnectPacket
        if (connect.protocol !== 5) throw new MalformedPacket('MQTT-3.1.2-2', 'another version')
        // As most packets want it.
        wire = new Mqtt5({ ...connect, sessionExpiry: 1, authentication: { method: 'M', data: undefined } }, limits5)
      }
    }
  })
  return { packets, fault: fault && `${fault.clause} ${fault.reasonCode} ${fault.message}` }
}

/** All text and bytes that were made of packets. */
function weightOf(value: unknown): number {
  if (typeof value === 'string' || value instanceof Uint8Array) return value.length
  if (typeof value !== 'object' || value === null) return 1
  return Object.values(value).reduce((sum: number, one) => sum + weightOf(one), 1)
}

const cases5 = Math.ceil(cases / 2)

t.test(`${cases5} streams of MQTT 5, FUZZ_SEED=${seed}`, async t => {
  const random = new Random(seed)
  const connects = Array.from({ length: 300 }, () => someConnect5(random).bytes)
  const packets = Array.from({ length: 2_000 }, () => somePacket5(random, 'M').bytes)
  const malformed = [...connectFaults, ...laterFaults, ...authFaults].map(([, bytes]) => bytes)
  const faults = new Map<string, number>()
  let accepted = 0
  let refused = 0
  for (let i = 0; i < cases5; i++) {
    const several = Array.from({ length: random.below(6) }, () => random.pick(packets))
    if (random.chance(10)) several.push(random.pick(malformed))
    several.unshift(random.chance(97) ? random.pick(connects) : random.pick(malformed))
    let stream = random.chance(3) ? random.bytes(random.below(60)) : Buffer.concat(several)
    // More often than not the CONNECT stays whole, or nothing else would be read.
    const head = random.chance(60) ? (several[0]?.length ?? 0) : 0
    for (let times = random.below(4); times > 0; times--) {
      const rest = mutate(random, stream.subarray(head), random.pick(packets))
      stream = Buffer.concat([stream.subarray(0, head), rest])
    }

    const whole = read5All([stream])
    const cut = read5All(chunksOf(random, stream))
    accepted += whole.packets.length
    if (whole.fault) refused++
    const clause = whole.fault?.split(' ')[0] ?? 'none'
    faults.set(clause, (faults.get(clause) ?? 0) + 1)
    // An alias stands for a topic that was read before: not more than the longest for each packet.
    const isSmall = weightOf(whole.packets) <= 100 + 10 * stream.length + 4_200 * whole.packets.length
    if (isDeepStrictEqual(cut, whole) && isSmall) continue
    t.same(cut, whole, `case ${i}: the same in chunks of any size`)
    t.ok(isSmall, `case ${i}: no more than was sent`)
    t.comment(`case ${i}: ${stream.toString('hex').slice(0, 2_000)}`)
    break
  }
  t.comment(`${accepted} packets accepted, ${refused} streams refused`)
  t.comment([...faults].map(([clause, count]) => `${clause}: ${count}`).join(', '))
  if (cases >= 10_000) {
    t.ok(accepted > cases5 && refused > cases5 / 10, 'both are seen often')
    t.ok(faults.size > 40, `${faults.size} statements broken`)
  }
})
