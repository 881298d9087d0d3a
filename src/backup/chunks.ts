import { createHash } from 'node:crypto'
import { rmdirSync } from 'node:fs'
import { join } from 'node:path'
import {
  type Files,
  nodeFiles,
  openNew,
  openToRead,
  readPiece,
  syncDirectory,
  synced,
  writeWhole,
} from '../disk/files.js'
import { HubError, systemCode } from '../errors.js'

/** Most bytes of one chunk. A change of a large file costs its chunks that have changed. */
export const chunkBytes = 4 << 20

export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/**
 * Pieces of files, each once, named after the SHA-256 of the content:
 *
 *     dir/chunks/4f/4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945
 *
 * A chunk has its name only once it is whole and on disk, and is never changed.
 */
export class Chunks {
  readonly #dir: string
  readonly #files: Files
  readonly #folders = new Set<string>()
  /** Names of the chunks that this run has written. */
  readonly #written = new Set<string>()
  /** Bytes that this run has written. */
  writtenBytes = 0

  constructor(dir: string, files: Files = nodeFiles) {
    this.#dir = join(dir, 'chunks')
    this.#files = files
  }

  pathOf(name: string): string {
    return join(this.#dir, name.slice(0, 2), name)
  }

  has(name: string, size: number): boolean {
    return this.#files.sizeOfSync(this.pathOf(name)) === size
  }

  /** Resolves with the name of the chunk, when it is on disk. Rejects with the error of the disk. */
  async put(bytes: Uint8Array): Promise<string> {
    const name = sha256(bytes)
    if (this.has(name, bytes.length)) return name
    const folder = join(this.#dir, name.slice(0, 2))
    if (!this.#folders.has(folder)) this.#files.makeDirectorySync(folder)
    this.#folders.add(folder)
    const fresh = join(folder, `${name}.new`)
    this.#files.removeSync(fresh)
    try {
      const fd = this.#files.openSync(fresh, openNew)
      try {
        await writeWhole(this.#files, fd, bytes, 0)
        await synced(this.#files, fd)
      } finally {
        this.#files.closeSync(fd)
      }
      this.#files.renameSync(fresh, this.pathOf(name))
    } catch (error) {
      this.#files.removeSync(fresh)
      throw error
    }
    this.#written.add(name)
    this.writtenBytes += bytes.length
    return name
  }

  /** Makes the names of all chunks written by this run survive a loss of power. */
  sync(): void {
    for (const folder of this.#folders) syncDirectory(folder, this.#files)
    if (this.#folders.size > 0) syncDirectory(this.#dir, this.#files)
  }

  /** Resolves with the content. Rejects with `data_dir_unusable` when the chunk is missing or damaged. */
  async get(name: string): Promise<Buffer> {
    const path = this.pathOf(name)
    let bytes: Buffer
    try {
      const fd = this.#files.openSync(path, openToRead)
      try {
        bytes = await readPiece(this.#files, fd, 0, Math.min(this.#files.sizeSync(fd), chunkBytes + 1))
      } finally {
        this.#files.closeSync(fd)
      }
    } catch (error) {
      if (systemCode(error) !== 'ENOENT') throw error
      throw new HubError('data_dir_unusable', `${path} is missing`)
    }
    if (sha256(bytes) === name) return bytes
    throw new HubError('data_dir_unusable', `${path} is damaged: its content has another SHA-256`)
  }

  /** Removes what this run has written, after it has failed: chunks that nothing refers to. */
  undo(): void {
    for (const name of this.#written) {
      this.#files.removeSync(this.pathOf(name))
      removeIfEmpty(join(this.#dir, name.slice(0, 2)))
    }
    this.#written.clear()
  }

  /** Removes all chunks but those in use, also unfinished ones. Returns how many. */
  sweep(used: ReadonlySet<string>): number {
    let count = 0
    for (const folder of this.#list(this.#dir)) {
      for (const name of this.#list(join(this.#dir, folder))) {
        if (used.has(name)) continue
        this.#files.removeSync(join(this.#dir, folder, name))
        count++
      }
      removeIfEmpty(join(this.#dir, folder))
    }
    return count
  }

  #list(dir: string): string[] {
    try {
      return this.#files.listSync(dir)
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return []
      throw error
    }
  }
}

function removeIfEmpty(dir: string): void {
  try {
    rmdirSync(dir)
  } catch {
    // Other chunks are there.
  }
}
