import { randomBytes } from 'node:crypto'
import { readWholeSync } from '../disk/files.js'
import { replaceFileSync } from '../disk/replace-file.js'

const keyBytes = 32

/**
 * Returns a key of 256 random bits that outlives the process: the key in the file, which is created when missing.
 * Throws when the file cannot be read or written.
 */
export function keptKey(path: string): Buffer {
  const text = readWholeSync(path)?.toString('latin1').trim() ?? ''
  const kept = Buffer.from(text, 'base64url')
  if (kept.length === keyBytes) return kept
  const key = randomBytes(keyBytes)
  replaceFileSync(path, `${key.toString('base64url')}\n`)
  return key
}
