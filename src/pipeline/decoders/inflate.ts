import { gunzipSync, inflateSync } from 'node:zlib'
import { Undecodable } from './sample.js'

/** Whether the payload begins as gzip does. [RFC 1952 §2.3.1] */
export function looksLikeGzip(payload: Buffer): boolean {
  return payload.length >= 18 && payload[0] === 0x1f && payload[1] === 0x8b && payload[2] === 8
}

/** Whether the payload begins as zlib does: two bytes with a check in them. [RFC 1950 §2.2] */
export function looksLikeZlib(payload: Buffer): boolean {
  return payload.length >= 8 && ((payload[0] as number) & 0x8f) === 0x08 && payload.readUInt16BE(0) % 31 === 0
}

/**
 * Returns what a payload of gzip or zlib was before it was compressed. Throws {@link Undecodable}, also for more than
 * `limit` bytes.
 */
export function inflate(payload: Buffer, format: 'gzip' | 'zlib', limit: number): Buffer {
  try {
    // A stream that failed lives on until the next turn, with a chunk of this size.
    const chunkSize = Math.min(16_384, 4 * payload.length + 256)
    return (format === 'gzip' ? gunzipSync : inflateSync)(payload, { maxOutputLength: limit, chunkSize })
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (code === 'ERR_BUFFER_TOO_LARGE') {
      throw new Undecodable('inflated_too_large', `more than ${limit} bytes once decompressed (limits.inflated)`)
    }
    throw new Undecodable(`bad_${format}`, `not valid ${format}: ${message}`)
  }
}
