import { constants, fstatSync, linkSync, openSync, statSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { type Files, nodeFiles } from '../../src/disk/files.js'
import { syncedWrites } from '../../src/journal.js'
import { FaultyFiles } from './faulty-files.js'
import type { Random } from './packets.js'

interface Change {
  undo(): void
}

/**
 * A faulty disk that can lose its power: what was written and not synced, and names that were made, changed or removed
 * without a sync of their directory, may be gone afterwards. Of each file and each directory the first changes stay, up
 * to a random one.
 */
export class PowerFiles extends FaultyFiles {
  readonly #random: Random
  /** For links to files whose names may have to come back; on the same file system. */
  readonly #attic: string
  #kept = 0
  #isOff = false
  readonly #open = new Map<number, { readonly key: string; readonly isSynced: boolean }>()
  /** By inode: changes of content that are not synced, the oldest first. */
  readonly #contents = new Map<string, Change[]>()
  /** By path of the directory: changes of names. */
  readonly #names = new Map<string, Change[]>()
  readonly #own: number[] = []

  constructor(random: Random, attic: string) {
    super(random)
    this.#random = random
    this.#attic = attic
  }

  /** The process is killed: nothing reaches the disk any more. */
  off(): void {
    this.#isOff = true
  }

  on(): void {
    this.#isOff = false
  }

  /** The power fails. */
  cut(): void {
    for (const changes of [this.#contents, this.#names]) {
      for (const list of changes.values()) {
        const kept = this.#random.below(list.length + 1)
        for (const { undo } of list.slice(kept).reverse()) undo()
      }
      changes.clear()
    }
    for (const fd of this.#own.splice(0)) nodeFiles.closeSync(fd)
  }

  override openSync(path: string, flags: number): number {
    this.#alive()
    const isNew = (flags & constants.O_CREAT) !== 0 && nodeFiles.sizeOfSync(path) === undefined
    const fd = super.openSync(path, flags)
    const isSynced = syncedWrites !== 0 && (flags & syncedWrites) === syncedWrites
    if ((flags & constants.O_TRUNC) !== 0) nodeFiles.fsyncSync(fd)
    this.#open.set(fd, { key: String(fstatSync(fd).ino), isSynced })
    if (isNew) this.#renamed(path, () => nodeFiles.removeSync(path))
    return fd
  }

  override closeSync(fd: number): void {
    this.#open.delete(fd)
    super.closeSync(fd)
  }

  override close(fd: number, done: (error: Error | null) => void): void {
    this.#open.delete(fd)
    super.close(fd, done)
  }

  override writeSync(fd: number, buffer: Uint8Array, offset: number, length: number, position: number): number {
    this.#alive()
    this.#remember(fd, position, length)
    return super.writeSync(fd, buffer, offset, length, position)
  }

  override write(...[fd, buffer, offset, length, position, done]: Parameters<Files['write']>): void {
    if (this.#isOff) return void setImmediate(done, gone(), 0)
    this.#remember(fd, position, length)
    super.write(fd, buffer, offset, length, position, done)
  }

  override ftruncateSync(fd: number, length: number): void {
    this.#alive()
    this.#remember(fd, length, Math.max(0, nodeFiles.sizeSync(fd) - length))
    super.ftruncateSync(fd, length)
  }

  override ftruncate(fd: number, length: number, done: (error: Error | null) => void): void {
    if (this.#isOff) return void setImmediate(done, gone())
    this.#remember(fd, length, Math.max(0, nodeFiles.sizeSync(fd) - length))
    super.ftruncate(fd, length, done)
  }

  override fsyncSync(fd: number): void {
    this.#alive()
    super.fsyncSync(fd)
    this.#synced(fd)
  }

  override fsync(fd: number, done: (error: Error | null) => void): void {
    if (this.#isOff) return void setImmediate(done, gone())
    const before = this.#count(fd)
    super.fsync(fd, error => {
      if (!error) this.#synced(fd, before)
      done(error)
    })
  }

  override fdatasync(fd: number, done: (error: Error | null) => void): void {
    if (this.#isOff) return void setImmediate(done, gone())
    const before = this.#count(fd)
    super.fdatasync(fd, error => {
      if (!error) this.#synced(fd, before)
      done(error)
    })
  }

  override renameSync(from: string, to: string): void {
    this.#alive()
    const target = this.#keep(to)
    super.renameSync(from, to)
    this.#renamed(to, () => {
      nodeFiles.renameSync(to, from)
      if (target) linkSync(target, to)
    })
  }

  override removeSync(path: string): void {
    this.#alive()
    const kept = this.#keep(path)
    super.removeSync(path)
    if (kept) this.#renamed(path, () => linkSync(kept, path))
  }

  override makeDirectorySync(dir: string): void {
    this.#alive()
    super.makeDirectorySync(dir)
  }

  override listSync(dir: string): string[] {
    this.#alive()
    return super.listSync(dir)
  }

  #alive(): void {
    if (this.#isOff) throw gone()
  }

  /** A second name for a file, if there is one. */
  #keep(path: string): string | undefined {
    if (nodeFiles.sizeOfSync(path) === undefined) return undefined
    const kept = join(this.#attic, String(++this.#kept))
    linkSync(path, kept)
    return kept
  }

  #renamed(path: string, undo: () => void): void {
    const key = String(statSync(dirname(resolve(path))).ino)
    this.#names.set(key, [...(this.#names.get(key) ?? []), { undo }])
  }

  /** What is in a part of a file before it is changed. */
  #remember(fd: number, position: number, length: number): void {
    const open = this.#open.get(fd)
    if (!open || open.isSynced) return
    const size = nodeFiles.sizeSync(fd)
    const before = Buffer.alloc(Math.max(0, Math.min(length, size - position)))
    // A file that is open only for writing, or has no name any more.
    const own = openSync(`/proc/self/fd/${fd}`, 'r+')
    nodeFiles.readSync(own, before, 0, before.length, position)
    this.#own.push(own)
    const undo = () => {
      nodeFiles.writeSync(own, before, 0, before.length, position)
      nodeFiles.ftruncateSync(own, size)
    }
    this.#contents.set(open.key, [...(this.#contents.get(open.key) ?? []), { undo }])
  }

  #count(fd: number): number {
    const key = this.#open.get(fd)?.key ?? ''
    return Math.max(this.#contents.get(key)?.length ?? 0, this.#names.get(key)?.length ?? 0)
  }

  /** The first `count` changes are on disk for good. */
  #synced(fd: number, count = Number.POSITIVE_INFINITY): void {
    const key = this.#open.get(fd)?.key ?? ''
    for (const changes of [this.#contents, this.#names]) {
      const list = changes.get(key)
      if (list) changes.set(key, list.slice(count))
    }
  }
}

function gone(): Error {
  return Object.assign(new Error('EIO: the process is gone'), { code: 'EIO' })
}
