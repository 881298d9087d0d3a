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
import { SerialQueue } from '../runtime/serial-queue.js'

/** Minimum content of a file of dead letters. A start that finds less has lost letters. */
export interface IndexEntry {
  readonly number: number
  /** Number of compactions, which is part of the file name. */
  readonly generation: number
  /** End offset of the last letter. */
  readonly end: number
  /** Number of letters in the file, including removed ones. */
  readonly letters: number
  /** Number of removed letters. */
  readonly gone: number
}

/** Content that a start finds in a file. */
export interface FoundLetters {
  /** Offsets of the letters. */
  readonly starts: readonly number[]
  readonly end: number
  readonly damaged: number
  readonly damagedTail: number
  readonly unread: number
  /** Offsets of the letters marked as removed. `gone` is how many of them are in the file. */
  readonly marks: ReadonlySet<number>
  readonly gone: number
}

/** Difference between the index and the content of a file. */
export interface Missing {
  /** Letters of the index that were not removed, and are missing. */
  readonly lost: number
  /** Bytes that are missing, or are neither letters nor an unfinished write. */
  readonly damaged: number
  /** Letters that are removed by the index, but not by the marks. */
  readonly returned: number
}

export function missing(told: IndexEntry | undefined, found: FoundLetters): Missing {
  const { starts, end, damaged, damagedTail, unread, marks, gone } = found
  const returned = told ? Math.max(0, told.gone - marks.size) : 0
  // Unreadable letters are not lost: the next start may read them.
  if (unread > 0) return { lost: 0, damaged: 0, returned }
  if (!told) return { lost: 0, damaged: damaged + damagedTail, returned }
  const within = starts.filter(start => start < told.end).length
  // Marks of letters that are missing, but were removed anyway.
  const passed = marks.size - gone
  return {
    lost: Math.max(0, told.letters - within - passed),
    damaged: damaged + Math.max(damagedTail, told.end - end),
    returned,
  }
}

/**
 * The list of the files of dead letters, with the content of each: a truncated or deleted file cannot be told
 * otherwise.
 *
 *     dead.index   ┌───────────────────────────────────────────┬──────────────┐   two slots, written in turn, each synced
 *                  │ frame: {at, files: [[number, …], …]} JSON │ at 1 MiB: as │   before the other is written again; the
 *                  └───────────────────────────────────────────┴──────────────┘   whole one with the higher `at` counts
 *
 * The index never lists more than is on disk: letters are added after they are synced, and a file is taken out before
 * the file is deleted. Slots are overwritten in place, so that the index can be written on a full disk.
 */
export class LetterIndex {
  readonly #path: string
  readonly #files: Files
  readonly #entries: () => Iterable<IndexEntry>
  /** Number of writes so far, which modulo two is the slot. */
  #at = 0
  #isSynced = false
  /** Whether the path is not a file that can be written, such as a folder. */
  #isUnusable = false
  readonly #writing = new SerialQueue()
  #next: Promise<void> | undefined

  /** @param entries Called at each write for the current files. */
  constructor(path: string, files: Files, entries: () => Iterable<IndexEntry>) {
    this.#path = path
    this.#files = files
    this.#entries = entries
  }

  /** Reads the index. Throws the error of the disk. */
  read(): IndexRead {
    const found = readIndex(this.#path, this.#files)
    this.#at = found.at
    return found
  }

  /** Schedules a write, as the files have changed. */
  changed(): void {
    // After an error the next write has the same entries.
    this.write().catch(() => {})
  }

  /** Resolves when the current entries are on disk. Rejects when the disk refuses. */
  write(): Promise<void> {
    this.#next ??= this.#writing.run(() => {
      this.#next = undefined
      return this.#write()
    })
    return this.#next
  }

  async #write(): Promise<void> {
    if (this.#isUnusable) return
    try {
      await this.#writeSlot()
    } catch (error) {
      if (systemCode(error) === undefined || isDiskError(error)) throw error
      // Such as a folder, or a file of another user. Letters can be kept without an index.
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
        // The slot written by the previous process may not be synced yet, and the other slot is about to be
        // overwritten.
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

/** Enough for the rows of twenty thousand files. Unused space is a hole in the file. */
const slotBytes = 1 << 20

interface IndexRead {
  /** Number of writes so far; 0 when there is no index. */
  readonly at: number
  readonly entries: readonly IndexEntry[]
  /** Whether no slot is intact although the index has been written before. */
  readonly isDamaged: boolean
}

/** Reads an index file. Throws the error of the disk. */
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
