import { closeSync, fsyncSync, openSync, readdirSync, readFileSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { systemCode } from '../errors.js'
import { syncDirectory } from '../journal.js'
import { readUInt64, writeUInt64 } from './codec.js'

/**
 * Where a reader of the spool is:
 *
 *     name.cursor   ┌──────────────┬─────────────┬────────────┬────────────┬───────────┐
 *                   │ sequence u64 │ segment u64 │ offset u64 │ number u32 │ crc32 u32 │   two slots, written in turn:
 *                   └──────────────┴─────────────┴────────────┴────────────┴───────────┘   the whole one with the higher number counts
 *     sequence: the next one wanted · segment, offset: where it is
 */
const slotBytes = 32

export interface Place {
  sequence: number
  segment: number
  offset: number
}

export class CursorFile {
  readonly #dir: string
  readonly #path: string
  readonly #slot = Buffer.alloc(slotBytes)
  /** How often it was saved. */
  #number = 0
  #fd: number | undefined

  constructor(dir: string, name: string) {
    this.#dir = dir
    this.#path = join(dir, `${name}.cursor`)
  }

  /** Undefined when there is none, or none that is whole. */
  read(): Place | undefined {
    let file: Buffer
    try {
      file = readFileSync(this.#path)
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return undefined
      throw error
    }
    let best: Place | undefined
    for (const at of [0, slotBytes]) {
      const slot = file.subarray(at, at + slotBytes)
      if (slot.length < slotBytes || crc32(slot.subarray(0, 28)) !== slot.readUInt32LE(28)) continue
      const number = slot.readUInt32LE(24)
      if (best && this.#number > number) continue
      this.#number = number
      best = { sequence: readUInt64(slot, 0), segment: readUInt64(slot, 8), offset: readUInt64(slot, 16) }
    }
    return best
  }

  /** Makes the file, in its full size: what is saved later needs no more room on the disk. */
  create(place: Place): void {
    this.#open('a')
    this.close()
    this.write(place)
    this.write(place)
    fsyncSync(this.#fd as number)
    syncDirectory(this.#dir)
  }

  write({ sequence, segment, offset }: Place): void {
    const fd = this.#fd ?? this.#open('r+')
    const number = this.#number + 1
    writeUInt64(this.#slot, sequence, 0)
    writeUInt64(this.#slot, segment, 8)
    writeUInt64(this.#slot, offset, 16)
    this.#slot.writeUInt32LE(number, 24)
    this.#slot.writeUInt32LE(crc32(this.#slot.subarray(0, 28)), 28)
    // A slot half written does not count, and the next try writes the same one.
    const written = writeSync(fd, this.#slot, 0, slotBytes, (number % 2) * slotBytes)
    if (written < slotBytes) throw new Error(`${written} of ${slotBytes} bytes were written`)
    this.#number = number
  }

  remove(): void {
    rmSync(this.#path, { force: true })
  }

  #open(flags: string): number {
    this.#fd = openSync(this.#path, flags)
    return this.#fd
  }

  close(): void {
    if (this.#fd === undefined) return
    const fd = this.#fd
    this.#fd = undefined
    closeSync(fd)
  }
}

/** Names of the cursors there are. */
export function listCursors(dir: string): string[] {
  return readdirSync(dir)
    .filter(name => name.endsWith('.cursor'))
    .map(name => name.slice(0, -'.cursor'.length))
}
