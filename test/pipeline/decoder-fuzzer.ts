import { setImmediate as turn } from 'node:timers/promises'
import { parentPort, workerData } from 'node:worker_threads'
import { deflateSync, gzipSync } from 'node:zlib'
import { create, fromJson, toBinary } from '@bufbuild/protobuf'
import {
  FileDescriptorProtoSchema,
  FileDescriptorSetSchema,
  file_google_protobuf_struct,
  ValueSchema,
} from '@bufbuild/protobuf/wkt'
import { encode as encodeMessagePack } from '@msgpack/msgpack'
import { encode as encodeCbor } from 'cborg'
import type { DecoderName } from '../../src/config/settings.js'
import { decode } from '../../src/pipeline/decoders/decoders.js'
import { protobufDecoder } from '../../src/pipeline/decoders/protobuf.js'
import { type Sample, Undecodable } from '../../src/pipeline/decoders/sample.js'
import { Births } from '../../src/pipeline/sparkplug/births.js'
import { SparkplugReader } from '../../src/pipeline/sparkplug/reader.js'
import { encodePayload } from './sparkplug/edge-node.js'

/*
 * Feeds a decoder with seeded inputs, in a thread of little memory: valid payloads, changed, cut and joined, and random
 * bytes. Anything thrown but Undecodable ends the thread with an error, and so does too much memory.
 */

/** How a run is to be. */
export interface FuzzRun {
  /** Undefined to let the payload choose. */
  readonly decoder: DecoderName | 'sparkplug' | 'protobuf' | undefined
  readonly inputs: number
  readonly seed: number
}

/** What a run found. */
export interface FuzzResult {
  readonly decoded: number
  readonly refused: Readonly<Record<string, number>>
}

const trees: readonly unknown[] = [
  { temperature: 21.5, humidity: 44, battery: 97, ok: true, name: 'kitchen', nested: { a: [1, 2.5, null], b: 'x' } },
  [
    { bn: 'urn:dev:1:', bt: 1.7e9, n: 't', u: 'Cel', v: 23.1 },
    { n: 'h', v: 50, t: -5 },
  ],
  [
    { time: 1.7e9, v: 1 },
    { time: 1.7e9 + 1, v: 2 },
  ],
  {
    deep: { deep: { deep: { deep: { deep: 1 } } } },
    long: 'y'.repeat(300),
    big: 2 ** 60,
    bytes: Uint8Array.of(1, 2, 3),
  },
  {
    time: [1.7e9, 1.7e9 + 1],
    t: [1, null],
    inner: '{"a":"{\\"b\\":1.5}"}',
    head: { Timestamp: '29/11/2024 21:14:42' },
    Date: '/Date(1700000000000)/',
    'Power [W]': '583291',
  },
  { metrics: [{ name: 'cpu', tags: { cpu: 'cpu0' }, fields: { idle: 90.5 }, timestamp: 1.7e9 }] },
  new Map<unknown, unknown>([
    [1, 2],
    [-2, 'urn:'],
    [0, 'n'],
    [2, 1.5],
  ]),
]

function seedsOf(decoder: FuzzRun['decoder']): Buffer[] {
  const cbor = trees.map(tree => Buffer.from(encodeCbor(tree)))
  const json = trees.slice(0, -1).map(tree => Buffer.from(JSON.stringify(tree)))
  const msgpack = trees.slice(0, -1).map(tree => Buffer.from(encodeMessagePack(tree)))
  switch (decoder) {
    case 'cbor':
      return cbor
    case 'msgpack':
      return msgpack
    case 'gzip':
      return [...json, ...msgpack].map(one => gzipSync(one))
    case 'zlib':
      return [...json, ...cbor].map(one => deflateSync(one))
    case 'sparkplug':
      return sparkplug
    case 'protobuf':
      return [...trees.map(tree => Buffer.from(toBinary(ValueSchema, jsonValueOf(tree)))), ...sparkplug]
    case 'senml':
      return [...json, ...cbor]
    case 'json':
    case 'value':
    case 'line':
      return [
        ...json,
        Buffer.from('{"a":1}\n{"a":2}'),
        Buffer.from('m,a=b t=21.5,u="x" 1700000000000000000\nm t=2i'),
        Buffer.from('21.5 °C'),
      ]
    default:
      return [...cbor, ...json, ...msgpack, gzipSync(json[0] as Buffer), deflateSync(cbor[0] as Buffer)]
  }
}

const sparkplug = [
  encodePayload({
    ...{ timestamp: 1.7e12, seq: 3 },
    metrics: [
      { name: 'temperature', alias: 1, type: 9, float: 21.5, properties: { engUnit: '°C' } },
      { name: 'count', alias: 2, type: 8, long: 2 ** 50, timestamp: 1.7e12 },
      {
        name: 'table',
        type: 16,
        dataSet: {
          columns: ['a', 'b'],
          types: [10, 10],
          rows: [
            [1, 2],
            [3, 4],
          ],
        },
      },
      { name: 'motor', type: 19, template: { metrics: [{ name: 'speed', type: 3, int: -5 }] } },
      { name: 'array', type: 24, bytes: Uint8Array.of(1, 0, 0, 0, 255, 255, 255, 255) },
    ],
  }),
  encodePayload({
    timestamp: 1.7e12,
    seq: 4,
    metrics: [
      { alias: 1, float: 22 },
      { alias: 2, long: 5 },
    ],
  }),
  encodePayload({ uuid: 'SPBV1.0_COMPRESSED', body: deflateSync(encodePayload({ metrics: [{ name: 'x', int: 1 }] })) }),
]

/** Returns a message that can hold any JSON. */
function jsonValueOf(tree: unknown) {
  return fromJson(ValueSchema, JSON.parse(JSON.stringify(tree)))
}

/** The types of `google.protobuf.Value`, and a message of our own that has one. */
const descriptor = toBinary(
  FileDescriptorSetSchema,
  create(FileDescriptorSetSchema, {
    file: [
      file_google_protobuf_struct.proto,
      create(FileDescriptorProtoSchema, {
        ...{ name: 'x.proto', package: 'x', syntax: 'proto3', dependency: ['google/protobuf/struct.proto'] },
        messageType: [
          {
            name: 'X',
            field: [
              { name: 'number', number: 2, type: 1, label: 1 },
              { name: 'text', number: 3, type: 9, label: 1 },
              { name: 'struct', number: 5, type: 11, label: 1, typeName: '.google.protobuf.Struct' },
              { name: 'list', number: 6, type: 11, label: 3, typeName: '.x.X' },
            ],
          },
        ],
      }),
    ],
  }),
)
const decodeX = await protobufDecoder(descriptor, 'x.X')

/** Returns numbers from 0 to below `n`, the same for the same seed (mulberry32). */
function random(seed: number): (n: number) => number {
  let state = seed
  return n => {
    state = (state + 0x6d2b79f5) | 0
    let x = Math.imul(state ^ (state >>> 15), 1 | state)
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x
    return ((x ^ (x >>> 14)) >>> 0) % n
  }
}

/** First bytes and sizes at which decoders have something to decide. */
const telling = [0x00, 0x1f, 0x5f, 0x7f, 0x80, 0x9b, 0x9f, 0xbb, 0xbf, 0xc1, 0xc2, 0xc9, 0xdb, 0xdd, 0xdf, 0xfb, 0xff]

function input(next: (n: number) => number, seeds: readonly Buffer[]): Buffer {
  const pick = () => seeds[next(seeds.length)] as Buffer
  if (next(8) === 0) return Buffer.from(Array.from({ length: 1 + next(40) }, () => next(256)))
  let bytes = Buffer.from(pick())
  for (let changes = next(5); changes > 0; changes--) {
    const at = next(bytes.length + 1)
    const way = next(5)
    if (way === 0) bytes = bytes.subarray(0, at)
    else if (way === 1) bytes = Buffer.concat([bytes.subarray(0, at), pick().subarray(next(20))])
    else if (way === 2)
      bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(Math.min(at + next(4), bytes.length))])
    else if (at < bytes.length) bytes[at] = way === 3 ? next(256) : (telling[next(telling.length)] as number)
  }
  return bytes
}

export async function fuzz({ decoder, inputs, seed }: FuzzRun): Promise<FuzzResult> {
  // Most of the time would go into stacks, which this test does not look at.
  Error.stackTraceLimit = 0
  const next = random(seed)
  const seeds = seedsOf(decoder)
  const refused: Record<string, number> = {}
  let decoded = 0
  const rules = { absent: new Set(['', 'nan', 'none']) }
  const json = { depth: 16, fields: 100, inflated: 100_000 }
  const reader = new SparkplugReader(new Births({ log: { warn: () => {} } }), json.inflated)
  const read = (payload: Buffer, i: number): readonly Sample[] => {
    if (decoder === 'protobuf') {
      const ownDecoder = (bytes: Buffer) => decodeX(bytes, json)
      return decode(payload, { ownDecoder, rules, memory: {}, receivedAt: 1.7e15, json })
    }
    if (decoder !== 'sparkplug') return decode(payload, { decoder, rules, memory: {}, receivedAt: 1.7e15, json })
    const topic = `spBv1.0/g/${['NBIRTH', 'NDATA', 'NDEATH'][i % 3]}/e${i % 7}`
    return reader.read({ topic, payload, receivedAt: i }) ?? []
  }
  for (let i = 0; i < inputs; i++) {
    // As between messages in the pipeline: a stream of zlib that failed is let go in the next turn.
    if (i % 1_000 === 0) await turn()
    const payload = input(next, seeds)
    try {
      const samples = read(payload, i)
      for (const { fields, absent = [], time = 0 } of samples) {
        if (fields.length + absent.length === 0 || Number.isNaN(time))
          throw new Error(`an empty sample of ${payload.toString('hex')}`)
      }
      decoded++
    } catch (error) {
      if (!(error instanceof Undecodable)) throw new Error(`threw on ${payload.toString('hex')}`, { cause: error })
      refused[error.reason] = (refused[error.reason] ?? 0) + 1
    }
  }
  return { decoded, refused }
}

parentPort?.postMessage(await fuzz(workerData as FuzzRun))
