import { BinaryReader, BinaryWriter, WireType } from '@bufbuild/protobuf/wire'
import { Undecodable } from './sample.js'

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
    if (error instanceof Undecodable) throw error
    throw badProtobuf((error as Error).message)
  }
}

export function badProtobuf(detail: string): Undecodable {
  return new Undecodable('bad_protobuf', `not valid Protobuf: ${detail}`)
}
