import { isUtf8 } from 'node:buffer'
import type { DecoderName } from '../../config/config.js'
import { decodeJson, type JsonLimits } from './json.js'
import { decodeLine, looksLikeLine } from './line.js'
import { type Sample, Undecodable } from './sample.js'
import { decodeValue } from './value.js'

export interface DecodeOptions {
  readonly decoder?: DecoderName
  /** Where the device's time is, by flattened name, the first that is there. */
  readonly timeFields: readonly string[]
  /** Microseconds; for lines without a time. */
  readonly receivedAt: number
  readonly json: JsonLimits
}

/**
 * The readings of a payload; none when it is empty (which clears a retained message and says nothing more). Throws
 * {@link Undecodable}. Unless the mapping names a decoder, the first characters choose: `{` or `[` is JSON,
 * `name field=…` is line protocol, anything else a bare value. What looks like JSON and is not is an error, not text.
 */
export function decode(payload: Buffer, options: DecodeOptions): readonly Sample[] {
  if (payload.length === 0) return []
  if (!isUtf8(payload)) throw new Undecodable('not_utf8', 'the payload is not UTF-8 text')
  const text = payload.toString('utf8').trim()
  if (text.length === 0) throw new Undecodable('no_reading', 'the payload is blank')
  switch (options.decoder ?? choose(text)) {
    case 'json':
      return decodeJson(text, options.timeFields, options.json)
    case 'line':
      return decodeLine(text, options.receivedAt)
    case 'value':
      return decodeValue(text)
  }
}

function choose(text: string): DecoderName {
  if (text.startsWith('{') || text.startsWith('[') || text.startsWith('"')) return 'json'
  return looksLikeLine(text) ? 'line' : 'value'
}
