import { closeSync, fstatSync, openSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { nodeFiles, readPieceSync } from '../disk/files.js'
import { systemCode } from '../errors.js'
import { endOfSegment } from '../spool/cursors.js'
import type { Seen } from './manifest.js'

/*
 * The cut through a data directory that a hub may be writing to.
 *
 * A hub survives kill -9 with whatever its files hold at one moment. The files of a cut are not of one moment, so they
 * are taken in an order in which each refers only to what is taken later:
 *
 *   cursors → balance sheet → state of all parts → store → dead letters → sessions → SPOOL
 *
 * A cursor that is older than the spool reads messages again, which are recognised by the balance sheet; a balance sheet
 * that is older than the store lets messages be written again, which changes nothing; sessions that are older than the
 * spool are brought up to date from it. These are the ways of a start after a crash. All segments are opened before
 * everything else, so that none is deleted that an older cursor needs.
 *
 * Files are opened within milliseconds and copied later: journals are only appended to, so the first bytes of an open
 * file stay as they were, and a file that is replaced or deleted meanwhile stays open. The segments' end is the end of
 * the last whole message.
 */

/** Smaller files are read when they are opened, as some are changed in place. */
const readAtOnce = 2 << 20

/** Most bytes of small files in memory. Beyond, files that are only ever replaced as a whole are read when copied. */
const maxInMemory = 32 << 20

export interface Captured {
  readonly path: string
  /** Bytes of the file that belong to the cut. */
  readonly size: number
  readonly seen: Seen
  /** The content, of small files; or the open file. With neither the file is opened when it is copied. */
  readonly bytes?: Buffer
  readonly fd?: number
}

export interface Cut {
  readonly files: readonly Captured[]
  readonly sequence: number
}

/** Files of a running process, files begun and not finished, and copies of damaged files. */
const passing =
  /(^|\/)(lock\.[^/]*|pid|probe|\.doctor-\d+|\.writable)$|\.new$|\.bad(\.\d+)?$|\.damaged-|^store\.duckdb\.tmp\/|^restore\.unfinished/

/** Files whose numbers go up when a journal is written anew: all of a folder are of one listing. */
const numbered = /\/\d{10,}\.[a-z]+$/

const order = [
  /^spool\/[^/]+\.cursor$/,
  /^balance\//,
  // All others: see below.
  /^store\./,
  /^(?:outlets\/[^/]+\/)?dead\.index$/,
  /^(?:outlets\/[^/]+\/)?dead\//,
  /^sessions\//,
  /^spool\//,
]
const others = 2

function rankOf(path: string): number {
  const found = order.findIndex(pattern => pattern.test(path))
  return found < 0 ? others : found >= others ? found + 1 : found
}

/** Opens the files of a data directory in the order of a cut. Nothing in the directory is changed. */
export class Capture {
  readonly #dir: string
  readonly #open = new Map<string, number>()
  #inMemory = 0

  constructor(dir: string) {
    this.#dir = dir
  }

  /**
   * Opens all files. `beforeStore` is called between the state of all parts and the store. To be closed when the files
   * are copied. Rejects with the errors of the disk.
   */
  async take(beforeStore: () => Promise<void>): Promise<Cut> {
    for (const path of this.#list(path => path.endsWith('.seg'))) this.#openOnce(path)
    const files: Captured[] = []
    for (let rank = 0; rank < order.length; rank++) {
      if (rank === others + 1) await beforeStore()
      files.push(...this.#takeAll(path => rankOf(path) === rank))
    }
    const spool = this.#takeAll(path => rankOf(path) === order.length)
    const sequence = await this.#cutSegments(spool)
    return { files: [...files, ...spool], sequence }
  }

  /** Closes what is open. */
  close(): void {
    for (const fd of this.#open.values()) closeSync(fd)
    this.#open.clear()
  }

  /** Takes the files once more until no journal has been begun or removed between two looks at the names. */
  #takeAll(belongs: (path: string) => boolean): Captured[] {
    const journals = (paths: readonly string[]) => paths.filter(path => numbered.test(path)).join()
    for (let tries = 0; ; tries++) {
      const inMemory = this.#inMemory
      const before = journals(this.#list(belongs))
      const taken = this.#list(belongs).flatMap(path => this.#takeOne(path) ?? [])
      const isWhole = before === journals(taken.map(({ path }) => path)) && before === journals(this.#list(belongs))
      if (isWhole || tries > 50) return taken
      this.#inMemory = inMemory
    }
  }

  #takeOne(path: string): Captured | undefined {
    const fd = this.#openOnce(path)
    if (fd === undefined) return undefined
    const { size, ino, mtimeMs } = fstatSync(fd)
    const seen = { inode: ino, size, changed: mtimeMs }
    const isSmall = size <= readAtOnce || path === 'dead.index'
    if (path.endsWith('.seg') || path.startsWith('store.duckdb') || (!isSmall && numbered.test(path)))
      return { path, size, seen, fd }
    const isRead = isSmall && this.#inMemory + size <= maxInMemory
    const bytes = isRead ? readPieceSync(nodeFiles, fd, 0, size) : undefined
    this.#inMemory += bytes?.length ?? 0
    closeSync(fd)
    this.#open.delete(path)
    return bytes ? { path, size: bytes.length, seen, bytes } : { path, size, seen }
  }

  /** Opens a file; segments only once. Undefined when the file is gone. */
  #openOnce(path: string): number | undefined {
    const open = this.#open.get(path)
    if (open !== undefined && path.endsWith('.seg')) return open
    if (open !== undefined) closeSync(open)
    this.#open.delete(path)
    const fd = openIfThere(join(this.#dir, path))
    if (fd !== undefined) this.#open.set(path, fd)
    return fd
  }

  /**
   * Adds the segments that were deleted since the beginning, and cuts the newest one behind the last whole message.
   * Resolves with the last sequence number.
   */
  async #cutSegments(taken: Captured[]): Promise<number> {
    for (const [path, fd] of this.#open) {
      if (!path.endsWith('.seg') || taken.some(one => one.path === path)) continue
      const { size, ino, mtimeMs } = fstatSync(fd)
      taken.push({ path, size, seen: { inode: ino, size, changed: mtimeMs }, fd })
    }
    const newest = taken
      .filter(({ path }) => path.endsWith('.seg'))
      .reduce<Captured | undefined>((last, one) => (last && last.path > one.path ? last : one), undefined)
    if (newest?.fd === undefined) return 0
    const { sequence, end } = await endOfSegment(newest.fd, Number(/(\d+)\.seg$/.exec(newest.path)?.[1]))
    // The hub may have written more since the file was opened.
    taken[taken.indexOf(newest)] = { ...newest, size: end }
    return sequence
  }

  #list(belongs: (path: string) => boolean): string[] {
    return listFiles(this.#dir).filter(path => !passing.test(path) && belongs(path))
  }
}

/** Opens a file, or what a link leads to. Undefined when there is none. */
export function openIfThere(path: string): number | undefined {
  try {
    return openSync(path, 'r')
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined
    throw error
  }
}

/** Returns the paths of all files below a folder, sorted. Folders that vanish meanwhile have none. */
export function listFiles(dir: string, under = ''): string[] {
  let names: string[]
  try {
    names = readdirSync(join(dir, under))
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return []
    throw error
  }
  const paths = names.flatMap(name => {
    const path = under === '' ? name : `${under}/${name}`
    const stats = statSync(join(dir, path), { throwIfNoEntry: false })
    if (stats?.isDirectory()) return listFiles(dir, path)
    return stats?.isFile() ? [path] : []
  })
  return paths.sort()
}
