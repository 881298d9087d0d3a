import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { create, createFileRegistry, type DescMessage, fromJson, toBinary } from '@bufbuild/protobuf'
import {
  FileDescriptorProtoSchema,
  FileDescriptorSetSchema,
  FieldDescriptorProto_Label as Label,
  FieldDescriptorProto_Type as Type,
} from '@bufbuild/protobuf/wkt'
import t from 'tap'
import type { Message } from '../../src/model.js'
import { protobufDecoder } from '../../src/pipeline/decoders/protobuf.js'
import { loadRuleDecoders } from '../../src/pipeline/decoders/rule-decoders.js'
import { Undecodable } from '../../src/pipeline/decoders/sample.js'
import { Mapping } from '../../src/pipeline/mapping.js'
import { tempDir } from '../services/service.js'

const limits = { depth: 16, fields: 100, inflated: 100_000 }

const field = (name: string, number: number, type: Type, more: object = {}) => ({
  ...{ name, number, type, label: Label.OPTIONAL },
  ...more,
})

/** What protoc would write for acme.proto. */
const set = create(FileDescriptorSetSchema, {
  file: [
    create(FileDescriptorProtoSchema, {
      ...{ name: 'acme.proto', package: 'acme', syntax: 'proto3' },
      enumType: [
        {
          name: 'Mode',
          value: [
            { name: 'OFF', number: 0 },
            { name: 'HEAT', number: 1 },
          ],
        },
      ],
      messageType: [
        { name: 'Probe', field: [field('name', 1, Type.STRING), field('celsius', 2, Type.FLOAT)] },
        {
          name: 'Telemetry',
          field: [
            field('time', 1, Type.FIXED64),
            field('temperature', 2, Type.FLOAT),
            field('count', 3, Type.UINT64),
            field('delta', 4, Type.SINT32),
            field('mode', 5, Type.ENUM, { typeName: '.acme.Mode' }),
            field('probe', 6, Type.MESSAGE, { typeName: '.acme.Probe' }),
            field('id', 7, Type.BYTES),
            field('raw', 8, Type.INT32, { label: Label.REPEATED }),
            field('ok', 9, Type.BOOL),
            field('inner', 10, Type.MESSAGE, { typeName: '.acme.Telemetry' }),
            field('maybe', 11, Type.DOUBLE, { proto3Optional: true, oneofIndex: 0 }),
          ],
          oneofDecl: [{ name: '_maybe' }],
        },
      ],
    }),
  ],
})
const descriptor = toBinary(FileDescriptorSetSchema, set)
const type = createFileRegistry(set).getMessage('acme.Telemetry') as DescMessage
const encode = (json: Parameters<typeof fromJson>[1]) => Buffer.from(toBinary(type, fromJson(type, json)))

t.test('a message by its descriptor', async t => {
  const decode = await protobufDecoder(descriptor, 'acme.Telemetry')
  const payload = encode({
    ...{ time: '1700000000000', temperature: 21.3, count: '18446744073709551615', delta: -5, mode: 'HEAT' },
    ...{ probe: { name: 'a', celsius: 3.25 }, id: 'AQI=', raw: [1, 2], ok: true },
  })
  t.same(decode(payload, limits), {
    ...{ time: 1_700_000_000_000, temperature: 21.3, count: '18446744073709551615', delta: -5, mode: 'HEAT' },
    ...{ probe: { name: 'a', celsius: 3.25 }, id: '0102', raw: [1, 2], ok: true },
  })
  const zeros = { time: 0, temperature: 0, count: 0, delta: 0, mode: 'OFF', id: '', ok: false }
  t.same(decode(Buffer.alloc(0), limits), zeros, 'zeros are not sent')
  t.match(decode(encode({ maybe: 0 }), limits), { maybe: 0 })
})

t.test('other bytes are refused', async t => {
  const decode = await protobufDecoder(descriptor, 'acme.Telemetry')
  const reason = (payload: Buffer) => {
    try {
      return JSON.stringify(decode(payload, limits))
    } catch (error) {
      if (error instanceof Undecodable) return error.reason
      throw error
    }
  }
  for (const hex of ['ff', '0a', '12ffffffff0f', '0900', '4b4b4b'])
    t.equal(reason(Buffer.from(hex, 'hex')), 'bad_protobuf', hex)
  let deep: Parameters<typeof fromJson>[1] = {}
  for (let i = 0; i < 20; i++) deep = { inner: deep }
  t.equal(reason(encode(deep)), 'too_deep')
  const nested = Buffer.from(Array.from({ length: 40_000 }, () => 0x53))
  t.equal(reason(nested), 'bad_protobuf')
  await t.rejects(protobufDecoder(descriptor, 'acme.Other'), { message: /acme.Telemetry/ })
})

t.test('a rule of the mapping names the descriptors and the message', async t => {
  const file = join(await tempDir(), 'acme.pb')
  await writeFile(file, descriptor)
  const rules = [{ topic: 'acme/+', measurement: 'acme', descriptor: file, message: 'acme.Telemetry' }]
  const mapping = new Mapping(rules, limits, { decoders: await loadRuleDecoders(rules) })
  const message: Message = {
    ...{
      sequence: 1,
      receivedAt: 1_700_000_005_000_000,
      topic: 'acme/1',
      qos: 0,
      retain: false,
      clientId: 'c',
      user: '',
    },
    ...{ payload: encode({ time: '1700000000000', temperature: 21.3 }), packetId: 0 },
  }
  t.match(mapping.read(message), { points: [{ measurement: 'acme', time: 1_700_000_000_000_000 }] })
})
