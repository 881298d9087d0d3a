import { constants } from 'node:fs'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { type Files, nodeFiles, openToChange, readWholeSync, syncDirectory } from '../disk/files.js'
import { systemCode } from '../errors.js'
import { readUInt64, writeUInt64 } from './message-codec.js'

/**
 * The place of a reader in the spool:
 *
 *     name.cursor   ┌──────────────┬─────────────┬────────────┬────────────┬───────────┐
 *                   │ sequence u64 │ segment u64 │ offset u64 │ number u32 │ crc32 u32 │   two slots, written in turn:
 *                   └──────────────┴─────────────┴────────────┴────────────┴───────────┘   the whole one with the higher number counts
 *     sequence: the next message to read · segment, offset: where that message is
 */
const slotBytes = 32

export interface CursorPlace {
  sequence: number
  segment: number
  offset: number
}

export class CursorFile {
  readonly #dir: string
  readonly #path: string
  readonly #files: Files
  readonly #slot = Buffer.alloc(slotBytes)
  /** Number of saves. */
  #number = 0
  #fd: number | undefined

  constructor(dir: string, name: string, files: Files) {
    this.#dir = dir
    this.#files = files
    this.#path = join(dir, `${name}.cursor`)
  }

  /**
   * Reads the saved place. `damaged`: the file exists, and no place in the file is whole. Throws when the disk cannot
   * read the file.
   */
  read(): { readonly place: CursorPlace | undefined; readonly damaged: boolean } {
    const file = readWholeSync(this.#path, this.#files)
    if (file === undefined) return { place: undefined, damaged: false }
    let best: CursorPlace | undefined
    for (const at of [0, slotBytes]) {
      const slot = file.subarray(at, at + slotBytes)
      if (slot.length < slotBytes || crc32(slot.subarray(0, 28)) !== slot.readUInt32LE(28)) continue
      const number = slot.readUInt32LE(24)
      if (best && this.#number > number) continue
      this.#number = number
      best = { sequence: readUInt64(slot, 0), segment: readUInt64(slot, 8), offset: readUInt64(slot, 16) }
    }
    return { place: best, damaged: best === undefined }
  }

  /** Creates the file in full size, so that later saves need no more room on the disk. */
  create(place: CursorPlace): void {
    this.close()
    this.write(place)
    this.write(place)
    this.#files.fsyncSync(this.#fd as number)
    syncDirectory(this.#dir, this.#files)
  }

  write(place: CursorPlace): void {
    try {
      this.#write(place)
    } catch (error) {
      if (this.#number === 0) this.#discard()
      throw error
    }
  }

  /** Removes a file without a place, which the next start would take for damaged. */
  #discard(): void {
    try {
      this.close()
      this.remove()
    } catch {
      // The next write uses the remaining file.
    }
  }

  #write({ sequence, segment, offset }: CursorPlace): void {
    this.#fd ??= this.#files.openSync(this.#path, openToChange | constants.O_CREAT)
    const number = this.#number + 1
    writeUInt64(this.#slot, sequence, 0)
    writeUInt64(this.#slot, segment, 8)
    writeUInt64(this.#slot, offset, 16)
    this.#slot.writeUInt32LE(number, 24)
    this.#slot.writeUInt32LE(crc32(this.#slot.subarray(0, 28)), 28)
    // A half-written slot does not count, and the next try writes the same slot.
    const written = this.#files.writeSync(this.#fd, this.#slot, 0, slotBytes, (number % 2) * slotBytes)
    if (written < slotBytes) throw new Error(`${written} of ${slotBytes} bytes were written`)
    this.#number = number
  }

  remove(): void {
    this.#files.removeSync(this.#path)
  }

  close(): void {
    if (this.#fd === undefined) return
    const fd = this.#fd
    this.#fd = undefined
    this.#files.closeSync(fd)
  }
}

/** Returns the names of all cursors with a file. */
export function listCursors(dir: string, files: Files = nodeFiles): string[] {
  let names: string[]
  try {
    names = files.listSync(dir)
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return []
    throw error
  }
  return names.filter(name => name.endsWith('.cursor')).map(name => name.slice(0, -'.cursor'.length))
}
