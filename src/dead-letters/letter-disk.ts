import { CommitLog } from '../disk/commit-log.js'
import { type Files, openNew, openToChange, openToRead, synced } from '../disk/files.js'
import { systemCode } from '../errors.js'
import type { Letters } from './letter.js'

/**
 * Runs an action whose failure costs only space, as the next start tries again. Returns whether the action succeeded.
 */
export function succeeds(act: () => void): boolean {
  try {
    act()
    return true
  } catch {
    return false
  }
}

/** Syncs a file. Resolves with whether the whole file is on disk. */
export async function isSynced(files: Files, path: string): Promise<boolean> {
  try {
    const fd = files.openSync(path, openToRead)
    try {
      await synced(files, fd)
      return true
    } finally {
      files.closeSync(fd)
    }
  } catch {
    return false
  }
}

/** Truncates a file to `end` and syncs the file. A missing file is ignored. Rejects with the error of the disk. */
export async function cutFile(files: Files, path: string, end: number): Promise<void> {
  let fd: number
  try {
    fd = files.openSync(path, openToChange)
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return
    throw error
  }
  try {
    files.ftruncateSync(fd, end)
    await synced(files, fd)
  } finally {
    files.closeSync(fd)
  }
}

/** Renames a file. An error is ignored when the file has the new name nevertheless. */
export function renameSurely(files: Files, from: string, to: string): void {
  try {
    files.renameSync(from, to)
  } catch (error) {
    if (files.sizeOfSync(to) === undefined) throw error
  }
}

/** Writes the letters into a new file and syncs the file. Resolves with the size. */
export async function writeLetters(files: Files, path: string, letters: Letters): Promise<number> {
  files.removeSync(path)
  const log = new CommitLog({ fsync: 'group', rotateBytes: Number.POSITIVE_INFINITY, rotate: noOther, files })
  log.open(files.openSync(path, openNew), 0)
  let failed: Error | undefined
  for (const start of letters.starts) {
    const body = letters.body(start)
    log.append(body.length, body, copyBody, (_, error) => {
      failed ??= error
    })
    if (log.pendingBytes >= 1 << 20) await log.flush()
    if (failed) break
  }
  await log.close()
  if (failed) throw failed
  return log.end
}

/** `rotate` of a group commit log that has only one file. */
export async function noOther(): Promise<never> {
  throw new Error('the previous file could not be written')
}

const copyBody = (body: Buffer, target: Buffer, at: number) => body.copy(target, at)
