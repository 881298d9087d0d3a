import type { DescField, DescMessage, MessageShape, Registry, toJson } from '@bufbuild/protobuf'
import type { ReflectMessage } from '@bufbuild/protobuf/reflect'
import { BinaryReader, BinaryWriter, WireType } from '@bufbuild/protobuf/wire'
import { Undecodable } from './sample.js'
import { type Tree, toTree } from './tree.js'
import { type JsonLimits, tooDeep } from './tree-reader.js'

/** The bytes of a message of Protobuf, field by field. Used by formats whose fields are known in advance. */
export { BinaryReader, BinaryWriter, WireType }

/**
 * Calls `field` for each field of a message, in the order of the bytes; a field for which `field` returns false is
 * skipped. Throws {@link Undecodable}.
 */
export function readMessage(
  bytes: Uint8Array,
  field: (number: number, reader: BinaryReader, wireType: WireType) => boolean,
): void {
  try {
    const reader = new BinaryReader(bytes)
    while (reader.pos < reader.len) {
      const [number, wireType] = reader.tag()
      if (!field(number, reader, wireType)) reader.skip(wireType, number)
    }
  } catch (error) {
    throw error instanceof Undecodable ? error : bad(error as Error)
  }
}

function bad({ message }: Error): Undecodable {
  return new Undecodable('bad_protobuf', `not valid Protobuf: ${message}`)
}

/** Returns the shortest number that is the same float of 32 bits: 21.3, not 21.299999237060547. */
export function shortestFloat(float: number): number {
  if (!Number.isFinite(float)) return float
  for (const digits of [7, 8]) {
    const short = Number(float.toPrecision(digits))
    if (Math.fround(short) === float) return short
  }
  return float
}

/**
 * Returns the decoder of a message type. Rejects with a sentence for people when there is none.
 * @param descriptorSet Bytes of a `FileDescriptorSet`, as `protoc --descriptor_set_out --include_imports` writes it
 * @param typeName Full name of the type: `acme.Telemetry`
 */
export async function protobufDecoder(
  descriptorSet: Uint8Array,
  typeName: string,
): Promise<(payload: Uint8Array, limits: JsonLimits) => Tree> {
  // The reader of descriptors takes time to load, which only those who have a descriptor should spend at the start.
  const [{ createFileRegistry, fromBinary, toJson }, { reflect }, { FileDescriptorSetSchema }] = await Promise.all([
    import('@bufbuild/protobuf'),
    import('@bufbuild/protobuf/reflect'),
    import('@bufbuild/protobuf/wkt'),
  ])
  const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, descriptorSet))
  const type = registry.getMessage(typeName)
  if (!type) {
    const known = [...registry].filter(one => one.kind === 'message').map(one => one.typeName)
    throw new Error(`no message ${typeName}; there are ${known.slice(0, 20).join(', ')}`)
  }
  return (payload, limits) => {
    let message: MessageShape<DescMessage>
    try {
      message = fromBinary(type, payload, { readUnknownFields: false })
    } catch (error) {
      throw bad(error as Error)
    }
    return treeOf(reflect(type, message), { ...limits, left: limits.depth, registry, toJson })
  }
}

interface TreeContext extends JsonLimits {
  /** Levels of nesting that may still follow. */
  readonly left: number
  readonly registry: Registry
  readonly toJson: typeof toJson
}

function treeOf(message: ReflectMessage, context: TreeContext): Tree {
  if (context.left === 0) throw tooDeep(context.depth)
  // Times, durations, wrappers and the like have a form of their own in JSON.
  if (message.desc.typeName.startsWith('google.protobuf.')) return wellKnown(message, context)
  const inner = { ...context, left: context.left - 1 }
  const members: [string, Tree][] = []
  for (const field of message.fields) {
    // A field without a mark of presence is not sent when it is zero, so zero is what was sent.
    if (field.presence !== implicitPresence && !message.isSet(field)) continue
    if ((field.fieldKind === 'list' || field.fieldKind === 'map') && !message.isSet(field)) continue
    members.push([field.name, treeOfField(message, field, inner)])
  }
  return Object.fromEntries(members)
}

function treeOfField(message: ReflectMessage, field: DescField, context: TreeContext): Tree {
  const one = (value: unknown, kind: 'scalar' | 'enum' | 'message'): Tree => {
    if (kind === 'message') return treeOf(value as ReflectMessage, context)
    if (kind === 'enum') return field.enum?.value[value as number]?.name ?? (value as number)
    return toTree(typeof value === 'number' && field.scalar === floatType ? shortestFloat(value) : value)
  }
  switch (field.fieldKind) {
    case 'list':
      return [...message.get(field)].map(element => one(element, field.listKind))
    case 'map':
      return Object.fromEntries([...message.get(field)].map(([key, value]) => [String(key), one(value, field.mapKind)]))
    default:
      return one(message.get(field), field.fieldKind)
  }
}

/** `ScalarType.FLOAT` and `FeatureSet_FieldPresence.IMPLICIT` of the library. */
const floatType = 2
const implicitPresence = 2

function wellKnown(message: ReflectMessage, { registry, toJson }: TreeContext): Tree {
  try {
    const json = toJson(message.desc, message.message, { registry })
    const seconds = message.desc.typeName === 'google.protobuf.Duration' ? /^(-?[\d.]+)s$/.exec(String(json)) : null
    return seconds ? Number(seconds[1]) : toTree(json)
  } catch (error) {
    throw bad(error as Error)
  }
}
