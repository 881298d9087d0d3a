import { randomBytes } from 'node:crypto'
import { chmodSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { systemCode } from '../errors.js'

const keyBytes = 32

/** A key of 256 random bits that outlives the process: that of the file, which is made when there is none. Throws when it cannot. */
export function keptKey(path: string): Buffer {
  try {
    const kept = Buffer.from(readFileSync(path, 'latin1').trim(), 'base64url')
    if (kept.length === keyBytes) return kept
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error
  }
  const key = randomBytes(keyBytes)
  const fresh = `${path}.new`
  writeFileSync(fresh, '', { mode: 0o600 })
  // A file that was there keeps its mode.
  chmodSync(fresh, 0o600)
  writeFileSync(fresh, `${key.toString('base64url')}\n`, { flush: true })
  renameSync(fresh, path)
  return key
}
