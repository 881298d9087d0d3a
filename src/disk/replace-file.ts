import { fchmodSync, fchownSync } from 'node:fs'
import { dirname } from 'node:path'
import {
  directorySynced,
  type Files,
  nodeFiles,
  openNew,
  syncDirectory,
  synced,
  writeWhole,
  writeWholeSync,
} from './files.js'

export interface Replacing {
  /** Permission bits of the new file, whatever the umask and the mode of the old file. Default: 0600. */
  readonly mode?: number
  /** User and group of the new file. Default: those of the process. */
  readonly owner?: { readonly uid: number; readonly gid: number } | undefined
  readonly files?: Files
}

/**
 * Replaces a file atomically. Readers of `path` see the old content or the new content, whole, whatever happens in
 * between: `path.new` is written, synced, renamed, and its name synced. When this returns, the new content survives a
 * loss of power. When this throws, the old content is there, unless only the sync of the name failed. A link at `path`
 * is replaced, not followed.
 */
export function replaceFileSync(path: string, content: string | Uint8Array, how: Replacing = {}): void {
  const { files = nodeFiles } = how
  const fresh = begin(path, how)
  try {
    try {
      writeWholeSync(files, fresh.fd, Buffer.from(content as string), 0)
      files.fsyncSync(fresh.fd)
    } finally {
      files.closeSync(fresh.fd)
    }
    files.renameSync(fresh.path, path)
  } catch (error) {
    discard(fresh.path, files)
    throw error
  }
  syncDirectory(dirname(path), files)
}

/**
 * Replaces a file as {@link replaceFileSync} does, without blocking the thread while the disk is at work. Callers run
 * one replacement at a time for each path.
 */
export async function replaceFile(path: string, content: string | Uint8Array, how: Replacing = {}): Promise<void> {
  await replaceInPieces(path, [content], how)
}

/** Replaces a file as {@link replaceFile} does, by pieces of the content, so that a large one is never there as a whole. */
export async function replaceInPieces(
  path: string,
  pieces: Iterable<string | Uint8Array> | AsyncIterable<string>,
  how: Replacing = {},
): Promise<void> {
  const { files = nodeFiles } = how
  const fresh = begin(path, how)
  try {
    try {
      let at = 0
      for await (const piece of pieces) {
        const bytes = Buffer.from(piece as string)
        await writeWhole(files, fresh.fd, bytes, at)
        at += bytes.length
      }
      await synced(files, fresh.fd)
    } finally {
      files.closeSync(fresh.fd)
    }
    files.renameSync(fresh.path, path)
  } catch (error) {
    discard(fresh.path, files)
    throw error
  }
  await directorySynced(dirname(path), files)
}

function begin(path: string, { mode, owner, files = nodeFiles }: Replacing): { path: string; fd: number } {
  const fresh = `${path}.new`
  // A file left by a kill, or put there by another program, is never written through.
  files.removeSync(fresh)
  const fd = files.openSync(fresh, openNew)
  try {
    if (owner) fchownSync(fd, owner.uid, owner.gid)
    if (mode !== undefined) fchmodSync(fd, mode)
  } catch (error) {
    files.closeSync(fd)
    discard(fresh, files)
    throw error
  }
  return { path: fresh, fd }
}

/** Removes the new file after an error. The caller reports that first error, so a failure here is ignored. */
function discard(path: string, files: Files): void {
  try {
    files.removeSync(path)
  } catch {
    // Left for the next replacement to remove.
  }
}
