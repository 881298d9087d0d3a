import { constants } from 'node:fs'
import { dirname } from 'node:path'
import { CommitLog, frameHeaderBytes } from '../disk/commit-log.js'
import { setAside } from '../disk/damaged.js'
import { type Files, openToChange, syncDirectory } from '../disk/files.js'
import { describe, HubError, systemCode } from '../errors.js'
import { noOther } from './letter-disk.js'
import { framesOf, readSurviving } from './letter-scan.js'

/**
 * Marks of the removed letters of a file:
 *
 *     0000000001.gone   ┌────────────┐
 *                       │ offset u32 │   offset of a letter, a frame for each mark, so that damage brings back one letter only
 *                       └────────────┘
 */
export class LetterMarks {
  readonly path: string
  readonly #files: Files
  #end = 0
  #log: CommitLog | undefined
  /** Whether an `append` has failed, so that a restart may or may not find those marks. */
  isUncertain = false
  /** Bytes that are not marks, or could not be read, at the start. */
  damaged = 0

  constructor(files: Files, path: string) {
    this.#files = files
    this.path = path
  }

  /** Size of the file. */
  get bytes(): number {
    return this.#end
  }

  /** Reads the marks at a start, as far as possible. Rejects when the file cannot be opened. */
  async load(): Promise<ReadonlySet<number>> {
    try {
      const { bytes, unread } = await readSurviving(this.#files, this.path)
      const { offsets, end, damaged } = await offsetsOf(bytes)
      this.damaged = Math.max(unread, damaged)
      // Bytes that cannot be read are not overwritten.
      this.#end = unread > 0 ? bytes.length : end
      return offsets
    } catch (error) {
      if (systemCode(error) !== 'ENOENT') throw error
      return new Set()
    }
  }

  /** Reads the offsets of the removed letters. Rejects when the file cannot be read completely. */
  async read(): Promise<ReadonlySet<number>> {
    const end = this.#end
    if (end === 0) return new Set()
    const { bytes, unread, reason } = await readSurviving(this.#files, this.path, end)
    if (unread > 0 || bytes.length < end)
      throw new HubError('spool_failed', `${this.path} cannot be read: ${reason || 'it is truncated'}`)
    return (await offsetsOf(bytes)).offsets
  }

  /** Resolves when these are on disk; rejects with `spool_failed`, and none of them counts until a restart. */
  async append(starts: readonly number[]): Promise<void> {
    try {
      this.#log ??= this.#open()
      const log = this.#log
      await new Promise<void>((resolve, reject) => {
        // Appended in one turn of the event loop, so they are one group: all or none.
        for (const start of starts) {
          log.append(4, start, writeOffset, (_, error) => (error ? reject(error) : resolve()))
        }
      })
      this.#end = log.end
      this.isUncertain = false
    } catch (error) {
      this.isUncertain = true
      await this.close()
      throw error
    }
  }

  /** Closes the file, which `append` keeps open. */
  async close(): Promise<void> {
    const log = this.#log
    this.#log = undefined
    await log?.close()
  }

  /** Deletes the file. Its letters must have been deleted before. */
  remove(): void {
    if (this.damaged > 0) setAside(this.path, this.#files)
    else this.#files.removeSync(this.path)
  }

  #open(): CommitLog {
    const files = this.#files
    const log = new CommitLog({ fsync: 'group', rotateBytes: Number.POSITIVE_INFINITY, rotate: noOther, files })
    try {
      const fd = files.openSync(this.path, openToChange | constants.O_CREAT)
      log.open(fd, this.#end)
      // Left behind by a failed write that could not be undone.
      files.ftruncateSync(fd, this.#end)
      // Its name, and after a rewrite that of the letters, may be in memory only.
      syncDirectory(dirname(this.path), files)
    } catch (error) {
      void log.close()
      throw new HubError('spool_failed', `could not remove dead letters: ${describe(error)}`, { cause: error })
    }
    return log
  }
}

const writeOffset = (offset: number, target: Buffer, at: number) => target.writeUInt32LE(offset, at)

async function offsetsOf(bytes: Buffer): Promise<{ offsets: Set<number>; end: number; damaged: number }> {
  const { starts, end, damaged, damagedTail } = await framesOf(bytes)
  const offsets = new Set<number>()
  for (const start of starts) {
    if (bytes.readUInt32LE(start) === 4) offsets.add(bytes.readUInt32LE(start + frameHeaderBytes))
  }
  return { offsets, end, damaged: damaged + damagedTail }
}
