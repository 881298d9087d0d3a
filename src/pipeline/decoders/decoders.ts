import { isUtf8 } from 'node:buffer'
import type { DecoderName } from '../../config/settings.js'
import { decodeJson, type JsonLimits } from './json.js'
import { decodeLine, looksLikeLine } from './line.js'
import { type Sample, Undecodable } from './sample.js'
import { decodeValue } from './value.js'

export interface DecodeOptions {
  readonly decoder?: DecoderName
  /** Flattened names of fields with the device's time; the first one present counts. */
  readonly timeFields: readonly string[]
  /** Time of receipt in microseconds, for lines without a time. */
  readonly receivedAt: number
  readonly json: JsonLimits
}

/**
 * Decodes the readings of a payload; none from an empty payload (which clears a retained message and carries nothing
 * more). Throws {@link Undecodable}. Unless the mapping names a decoder, the first characters choose: `{` or `[` is
 * JSON, `name field=…` is line protocol, anything else a bare value. A payload that looks like JSON and is not JSON is
 * an error, not text.
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
