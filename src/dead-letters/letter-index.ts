import { constants } from 'node:fs'
import { dirname } from 'node:path'
import { frameAt, frameHeaderBytes, writeFrameHeader } from '../disk/commit-log.js'
import {
  dataSynced,
  type Files,
  nodeFiles,
  openToChange,
  openToRead,
  readPieceSync,
  syncDirectory,
  writeWhole,
} from '../disk/files.js'
import { isDiskError } from '../disk/retried-write.js'
import { systemCode } from '../errors.js'

/** What a file of dead letters holds for certain: a start that finds less of it has lost something. */
export interface IndexEntry {
  readonly number: number
  /** How often it was written anew: its name. */
  readonly generation: number
  /** Where the last letter ends. */
  readonly end: number
  /** Letters in it, those that are gone as well. */
  readonly letters: number
  /** Of them, those that are gone. */
  readonly gone: number
}

/** What a start finds in a file. */
export interface FoundLetters {
  /** Where letters begin. */
  readonly starts: readonly number[]
  readonly end: number
  readonly damaged: number
  readonly damagedTail: number
  readonly unread: number
  /** Where letters begin that are gone, as far as is known; how many of those are found. */
  readonly marks: ReadonlySet<number>
  readonly gone: number
}

/** What is not found in it. */
export interface Missing {
  /** Letters that the index knows, that were not gone, and are not there. */
  readonly lost: number
  /** Bytes that are missing, or no letters, and no write that was cut short either. */
  readonly damaged: number
  /** Letters that the index knows as gone, and that are there again. */
  readonly returned: number
}

export function missing(told: IndexEntry | undefined, found: FoundLetters): Missing {
  const { starts, end, damaged, damagedTail, unread, marks, gone } = found
  const returned = told ? Math.max(0, told.gone - marks.size) : 0
  // Nothing is lost yet: it may be read by the next start.
  if (unread > 0) return { lost: 0, damaged: 0, returned }
  if (!told) return { lost: 0, damaged: damaged + damagedTail, returned }
  const within = starts.filter(start => start < told.end).length
  // Where nothing is any more that was gone anyway.
  const passed = marks.size - gone
  return {
    lost: Math.max(0, told.letters - within - passed),
    damaged: damaged + Math.max(damagedTail, told.end - end),
    returned,
  }
}

/**
 * Which files of dead letters there are, and how much is in each. Files that are cut or removed look sound by themselves.
 *
 *     dead.index   ┌───────────────────────────────────────────┬──────────────┐   two slots, written in turn, each synced
 *                  │ frame: {at, files: [[number, …], …]} JSON │ at 1 MiB: as │   before the other is written again; the
 *                  └───────────────────────────────────────────┴──────────────┘   whole one with the higher `at` counts
 *
 * It says less than there is, never more: letters are told when they are on disk, and a file is taken out before it is
 * deleted. It is written in place, so that a full disk takes it.
 */
export class LetterIndex {
  readonly #path: string
  readonly #files: Files
  readonly #entries: () => Iterable<IndexEntry>
  /** How often it was written; its slot is this modulo two. */
  #at = 0
  #isSynced = false
  /** The disk has something else in its place. */
  #isUnusable = false
  #writing: Promise<void> = Promise.resolve()
  #next: Promise<void> | undefined

  /** `entries` is what there is when it is written. */
  constructor(path: string, files: Files, entries: () => Iterable<IndexEntry>) {
    this.#path = path
    this.#files = files
    this.#entries = entries
  }

  /** Throws what the disk says. */
  read(): IndexRead {
    const found = readIndex(this.#path, this.#files)
    this.#at = found.at
    return found
  }

  /** There is something new: it is written when there is time. */
  changed(): void {
    // What the disk refuses is in the next one.
    this.write().catch(() => {})
  }

  /** Resolves when what there is now is on disk; rejects when the disk refuses. */
  write(): Promise<void> {
    if (!this.#next) {
      const next = this.#writing.then(() => {
        this.#next = undefined
        return this.#write()
      })
      this.#next = next
      this.#writing = next.catch(() => {})
    }
    return this.#next
  }

  async #write(): Promise<void> {
    if (this.#isUnusable) return
    try {
      await this.#writeSlot()
    } catch (error) {
      if (systemCode(error) === undefined || isDiskError(error)) throw error
      // A folder, say, or a file of another user: the letters are more important than what is known of them.
      this.#isUnusable = true
    }
  }

  async #writeSlot(): Promise<void> {
    const at = this.#at + 1
    const rows = Array.from(this.#entries(), ({ number, generation, end, letters, gone }) => [
      number,
      generation,
      end,
      letters,
      gone,
    ])
    const body = Buffer.from(JSON.stringify({ at, files: rows }))
    const slot = Buffer.alloc(frameHeaderBytes + body.length)
    body.copy(slot, frameHeaderBytes)
    writeFrameHeader(slot, 0, slot.subarray(frameHeaderBytes))
    const fd = this.#files.openSync(this.#path, openToChange | constants.O_CREAT)
    try {
      if (!this.#isSynced) {
        // The slot that the process before wrote may be in memory only, and the other one is about to be overwritten.
        await dataSynced(this.#files, fd)
        syncDirectory(dirname(this.#path), this.#files)
        this.#isSynced = true
      }
      await writeWhole(this.#files, fd, slot, (at % 2) * slotBytes)
      await dataSynced(this.#files, fd)
    } finally {
      this.#files.closeSync(fd)
    }
    this.#at = at
  }
}

/** Room for the rows of twenty thousand files; what is not used takes none on the disk. */
const slotBytes = 1 << 20

interface IndexRead {
  /** How often it was written; 0 when there is none. */
  readonly at: number
  readonly entries: readonly IndexEntry[]
  /** Neither slot is whole, and one of them was once. */
  readonly isDamaged: boolean
}

/** Throws what the disk says. */
export function readIndex(path: string, files: Files = nodeFiles): IndexRead {
  let fd: number
  try {
    fd = files.openSync(path, openToRead)
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return { at: 0, entries: [], isDamaged: false }
    throw error
  }
  try {
    const size = files.sizeSync(fd)
    const slots = [0, slotBytes].map(at => readPieceSync(files, fd, at, Math.max(0, Math.min(slotBytes, size - at))))
    const [newest] = slots.flatMap(slot => decodeSlot(slot) ?? []).sort((a, b) => b.at - a.at)
    // The first slot is written second: before, a crash may leave half of the other one.
    return { ...(newest ?? { at: 0, entries: [] }), isDamaged: !newest && slots[0]?.some(byte => byte !== 0) === true }
  } finally {
    files.closeSync(fd)
  }
}

function decodeSlot(bytes: Buffer): { at: number; entries: IndexEntry[] } | undefined {
  const body = frameAt(bytes, 0)?.body
  if (!body) return undefined
  const { at, files } = JSON.parse(body.toString()) as { at: number; files: [number, number, number, number, number][] }
  const entries = files.map(([number, generation, end, letters, gone]) => ({ number, generation, end, letters, gone }))
  return { at, entries }
}
