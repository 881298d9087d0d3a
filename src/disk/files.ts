import {
  close,
  closeSync,
  constants,
  fdatasync,
  fstatSync,
  fsync,
  fsyncSync,
  ftruncate,
  ftruncateSync,
  mkdirSync,
  openSync,
  read,
  readdirSync,
  readSync,
  renameSync,
  statSync,
  unlinkSync,
  write,
  writeSync,
} from 'node:fs'
import { open } from 'node:fs/promises'
import { systemCode } from '../errors.js'

type FileCallback = (error: Error | null) => void
type Transferred = (error: Error | null, bytes: number) => void

/**
 * The file operations that state on disk is made of, with the names and errors of `node:fs`. Every class that keeps
 * state on disk receives them, so that tests can make each operation fail. Reads and writes may be short.
 */
export interface Files {
  /**
   * Opens a file. A symbolic link is not followed (`ELOOP`); a new file is for the hub's user alone (0600), whatever
   * the umask.
   */
  openSync(path: string, flags: number): number
  closeSync(fd: number): void
  readSync(fd: number, buffer: Uint8Array, offset: number, length: number, position: number): number
  writeSync(fd: number, buffer: Uint8Array, offset: number, length: number, position: number): number
  fsyncSync(fd: number): void
  ftruncateSync(fd: number, length: number): void
  /** Size of an open file, in bytes. */
  sizeSync(fd: number): number

  close(fd: number, done: FileCallback): void
  read(fd: number, buffer: Uint8Array, offset: number, length: number, position: number, done: Transferred): void
  write(fd: number, buffer: Uint8Array, offset: number, length: number, position: number, done: Transferred): void
  fsync(fd: number, done: FileCallback): void
  fdatasync(fd: number, done: FileCallback): void
  ftruncate(fd: number, length: number, done: FileCallback): void

  /** Names in a directory, in no order. */
  listSync(dir: string): string[]
  /** Creates a directory (0700) and any missing parents. */
  makeDirectorySync(dir: string): void
  /** Size of the file at a path, in bytes. Undefined when there is no file. */
  sizeOfSync(path: string): number | undefined
  renameSync(from: string, to: string): void
  /** Removes a file. A missing file is no error. */
  removeSync(path: string): void
}

const noFollow = constants.O_NOFOLLOW ?? 0

export const openToRead = constants.O_RDONLY
export const openToChange = constants.O_RDWR
/** Flags that create a file. Opening fails with `EEXIST` when the file exists. */
export const openNew = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL

export const nodeFiles: Files = {
  openSync: (path, flags) => openSync(path, flags | noFollow, 0o600),
  closeSync,
  readSync,
  writeSync: (fd, buffer, offset, length, position) => writeSync(fd, buffer, offset, length, position),
  fsyncSync,
  ftruncateSync,
  sizeSync: fd => fstatSync(fd).size,
  close,
  read,
  write: (fd, buffer, offset, length, position, done) => write(fd, buffer, offset, length, position, done),
  fsync,
  fdatasync,
  ftruncate,
  listSync: dir => readdirSync(dir),
  makeDirectorySync: dir => void mkdirSync(dir, { recursive: true, mode: 0o700 }),
  sizeOfSync: path => statSync(path, { throwIfNoEntry: false })?.size,
  renameSync,
  removeSync: path => {
    try {
      unlinkSync(path)
    } catch (error) {
      if (systemCode(error) !== 'ENOENT') throw error
    }
  },
}

/** Syncs a directory: the entries of new, renamed or removed files survive a loss of power once this returns. */
export function syncDirectory(dir: string, files: Files = nodeFiles): void {
  // The directory may be a link that an operator made.
  const fd = files.openSync(`${dir}/.`, openToRead)
  try {
    files.fsyncSync(fd)
  } finally {
    files.closeSync(fd)
  }
}

/** Writes all bytes at `position`, however short single writes are. */
export function writeWholeSync(files: Files, fd: number, bytes: Uint8Array, position: number): void {
  for (let done = 0; done < bytes.length; ) {
    const written = files.writeSync(fd, bytes, done, bytes.length - done, position + done)
    if (written === 0) throw new Error('the disk wrote no bytes')
    done += written
  }
}

/** Writes all bytes at `position` as {@link writeWholeSync} does, without blocking the thread. */
export async function writeWhole(files: Files, fd: number, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const written = await new Promise<number>((resolve, reject) =>
      files.write(fd, bytes, done, bytes.length - done, position + done, (error, count) =>
        error ? reject(error) : resolve(count),
      ),
    )
    if (written === 0) throw new Error('the disk wrote no bytes')
    done += written
  }
}

/** Resolves when the content and the metadata of the file are on disk. */
export function synced(files: Files, fd: number): Promise<void> {
  return new Promise((resolve, reject) => files.fsync(fd, error => (error ? reject(error) : resolve())))
}

/** Resolves when the content of the file is on disk. */
export function dataSynced(files: Files, fd: number): Promise<void> {
  return new Promise((resolve, reject) => files.fdatasync(fd, error => (error ? reject(error) : resolve())))
}

/** Resolves when what was written to a file, by whoever has closed it, is on disk. */
export async function fileSynced(path: string): Promise<void> {
  const file = await open(path)
  await file.sync().finally(() => file.close())
}

/** Syncs a directory as {@link syncDirectory} does, without blocking the thread. */
export async function directorySynced(dir: string, files: Files = nodeFiles): Promise<void> {
  const fd = files.openSync(`${dir}/.`, openToRead)
  try {
    await synced(files, fd)
  } finally {
    files.closeSync(fd)
  }
}

/** Reads up to `length` bytes at `position`; fewer at the end of the file. */
export function readPieceSync(files: Files, fd: number, position: number, length: number): Buffer {
  const buffer = Buffer.allocUnsafe(length)
  let held = 0
  while (held < length) {
    const count = files.readSync(fd, buffer, held, length - held, position + held)
    if (count === 0) break
    held += count
  }
  return buffer.subarray(0, held)
}

/** Reads as {@link readPieceSync} does, without blocking the thread. */
export async function readPiece(files: Files, fd: number, position: number, length: number): Promise<Buffer> {
  const buffer = Buffer.allocUnsafe(length)
  let held = 0
  while (held < length) {
    const count = await new Promise<number>((resolve, reject) =>
      files.read(fd, buffer, held, length - held, position + held, (error, bytes) =>
        error ? reject(error) : resolve(bytes),
      ),
    )
    if (count === 0) break
    held += count
  }
  return buffer.subarray(0, held)
}

/** Returns the whole content of a small file. Undefined when there is no file. */
export function readWholeSync(path: string, files: Files = nodeFiles): Buffer | undefined {
  let fd: number
  try {
    fd = files.openSync(path, openToRead)
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined
    throw error
  }
  try {
    return readPieceSync(files, fd, 0, files.sizeSync(fd))
  } finally {
    files.closeSync(fd)
  }
}

/** Bytes of a file that are freed at once. */
const freedAtOnce = 16 << 20

/**
 * Removes a file that nobody reads any more, and frees its blocks in pieces: a file system frees a large file in one
 * step that delays every other sync (450 ms for 600 MB on ext4). A missing file is no error. Resolves when all is
 * freed; rejects with the error of the disk.
 */
export async function removeInPieces(files: Files, path: string): Promise<void> {
  const size = files.sizeOfSync(path)
  if (size === undefined) return
  if (size <= freedAtOnce) return files.removeSync(path)
  const fd = files.openSync(path, openToChange)
  try {
    files.removeSync(path)
    for (let left = size - freedAtOnce; left > 0; left -= freedAtOnce) {
      await new Promise<void>((resolve, reject) =>
        files.ftruncate(fd, left, error => (error ? reject(error) : resolve())),
      )
    }
  } finally {
    await new Promise<void>(resolve => files.close(fd, () => resolve()))
  }
}
