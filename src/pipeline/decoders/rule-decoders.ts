import { isUtf8 } from 'node:buffer'
import { readFile } from 'node:fs/promises'
import { basename } from 'node:path'
import type { MappingRule } from '../../config/settings.js'
import { describe, HubError } from '../../errors.js'
import { parseJson } from './json.js'
import { protobufDecoder } from './protobuf.js'
import type { Tree } from './tree.js'
import type { JsonLimits } from './tree-reader.js'
import { openUplink } from './uplink.js'

/** Decodes the payloads of a rule with what the rule's files say. Throws `Undecodable`. */
export type RuleDecoder = (payload: Buffer, receivedAt: number, limits: JsonLimits) => Tree

/** The decoders of the rules that name files: descriptors of Protobuf, and codecs. */
export type RuleDecoders = ReadonlyMap<MappingRule, RuleDecoder>

/** Resolves with the decoders of the rules. Rejects with `bad_settings` when a file cannot be used. */
export async function loadRuleDecoders(rules: readonly MappingRule[]): Promise<RuleDecoders> {
  const decoders = new Map<MappingRule, RuleDecoder>()
  for (const rule of rules) {
    const { topic, descriptor, message, codec } = rule
    const file = codec ?? descriptor
    if (file === undefined) continue
    try {
      decoders.set(rule, codec === undefined ? await byDescriptor(file, message as string) : await byCodec(file))
    } catch (error) {
      throw new HubError('bad_settings', `mapping: ${topic}: ${file}: ${describe(error)}`)
    }
  }
  return decoders
}

async function byDescriptor(file: string, message: string): Promise<RuleDecoder> {
  const decode = await protobufDecoder(await readFile(file), message)
  return (payload, _, limits) => decode(payload, limits)
}

async function byCodec(file: string): Promise<RuleDecoder> {
  // WebAssembly takes memory that only those who have a codec need.
  const { Codec } = await import('./codec.js')
  const codec = await Codec.load(basename(file), await readFile(file, 'utf8'))
  return (payload, receivedAt, limits) => {
    // The bytes of a device as they are, or within the JSON of a network server.
    if (payload[0] !== brace || !isUtf8(payload)) {
      return codec.decode({ bytes: payload, fPort: 1, recvTime: Math.floor(receivedAt / 1_000) })
    }
    const tree = parseJson(payload.toString(), limits) as Tree
    const open = openUplink(tree, receivedAt)
    return open ? open.complete(codec.decode(open.uplink)) : tree
  }
}

const brace = 0x7b
