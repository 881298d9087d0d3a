import { createHash } from 'node:crypto'
import { closeSync, fstatSync, readSync, writeFileSync } from 'node:fs'
import { basename, join, resolve, sep } from 'node:path'
import { type Files, nodeFiles, readPiece, readWholeSync } from '../disk/files.js'
import { newerFormats, ownFormats } from '../disk/formats.js'
import { HubError, systemCode } from '../errors.js'
import type { MillisecondClock } from '../runtime/time.js'
import { Capture, type Captured, openIfThere } from './capture.js'
import { Chunks, chunkBytes } from './chunks.js'
import {
  type BackedFile,
  type Manifest,
  manifestFormat,
  type Progress,
  readManifest,
  writeManifest,
} from './manifest.js'

export type { Manifest } from './manifest.js'
export { restore } from './restore.js'

/*
 * `telehub backup`: copies a data directory, while its hub runs or not, into
 *
 *     DIR/telehub-backup.json     manifest.ts: the files, their SHA-256 and their chunks; replaced last of all
 *         chunks/4f/4f53cd…       chunks.ts: the content
 *
 * The command does the work, in a process of its own: the hub's threads only hold the file of the store.
 */

/** The hub whose files are copied. */
export interface HeldHub {
  /** Keeps the file of the store as it is, for a minute. Resolves with the bytes of its log; undefined without a file. */
  hold(): Promise<{ readonly logBytes: number } | undefined>
  release(): Promise<void>
}

export interface BackupOptions {
  /** The data directory. */
  readonly data: string
  /** Where the backup goes. */
  readonly to: string
  readonly version: string
  /** Undefined when no hub runs: then the directory is locked by the caller. */
  readonly hub: HeldHub | undefined
  /** Files of the settings outside the data directory, by the name of the setting. */
  readonly outside: Readonly<Record<string, string>>
  /** What belongs to the hub and is not copied. */
  readonly without: readonly string[]
  readonly progress: Progress
  readonly clock: MillisecondClock
  readonly files?: Files
}

export interface BackupResult {
  readonly manifest: Manifest
  /** Bytes of all files, and those that were new. */
  readonly bytes: number
  readonly written: number
}

/** The store's file was written to, although it was held. */
class StoreChanged extends Error {}

const maxAttempts = 5
/** Bytes at the start of a DuckDB file that tell of a checkpoint: three headers of 4 KB. */
const headerBytes = 3 * 4_096
/** A file changed so shortly before may have been changed again within the same tick of the clock. */
const settledMs = 2_000
const renewMs = 20_000

/**
 * Makes a backup, or brings one up to date: what has not changed is not copied again. Resolves when the backup is on
 * disk. Rejects with a `HubError`, or with the error of the disk; then the backup that was there is whole.
 */
export async function backUp(options: BackupOptions): Promise<BackupResult> {
  const { data, to, version, files = nodeFiles } = options
  const newer = newerFormats(data, version)
  if (newer.length > 0) throw new HubError('data_dir_unusable', newer.join('\n'))
  if (`${resolve(to)}${sep}`.startsWith(`${resolve(data)}${sep}`)) {
    throw new HubError('bad_request', `${to} is in the data directory: a backup goes elsewhere, best to another disk`)
  }
  const before = readManifest(to, version, files)
  if (!before && nodeFiles.sizeOfSync(to) !== undefined) {
    const strange = nodeFiles
      .listSync(to)
      .find(name => name !== 'chunks' && name !== lockName && !name.endsWith('.new'))
    if (strange !== undefined) throw new HubError('bad_request', `${to} is no backup, and not empty: it has ${strange}`)
  }
  const id = identityOf(data)
  if (before && before.hub !== id) {
    throw new HubError('bad_request', `${to} is a backup of another hub (${before.hub}): choose another folder`)
  }
  files.makeDirectorySync(to)
  const unlock = lock(to)
  try {
    const run = new BackupRun(options, before, files)
    return await run.make(id)
  } finally {
    unlock()
  }
}

/** Reads every chunk of a backup. Resolves with a sentence about each that is missing or damaged. */
export async function verify(
  to: string,
  version: string,
  progress: Progress,
): Promise<{ readonly manifest: Manifest; readonly faults: readonly string[] }> {
  const manifest = existing(to, version)
  const chunks = new Chunks(to)
  const faults: string[] = []
  const total = manifest.files.reduce((sum, { size }) => sum + size, 0)
  let done = 0
  for (const { path, size, sha256, chunks: names } of manifest.files) {
    const hash = createHash('sha256')
    let length = 0
    try {
      for (const name of names) {
        const bytes = await chunks.get(name)
        hash.update(bytes)
        length += bytes.length
        progress.report(done + length, total)
      }
      if (length !== size || hash.digest('hex') !== sha256) throw new Error('the chunks are not those of the file')
    } catch (error) {
      faults.push(`${path}: ${error instanceof Error ? error.message : error}`)
    }
    done += size
  }
  return { manifest, faults }
}

/** Returns the manifest of a backup. Throws `not_found` when there is none. */
export function existing(to: string, version: string): Manifest {
  const manifest = readManifest(to, version)
  if (!manifest) throw new HubError('not_found', `${to} has no backup: no telehub-backup.json is there`)
  return manifest
}

/** Returns the id of the hub of a data directory. Throws `not_found` when there is none. */
export function identityOf(data: string): string {
  const text = readWholeSync(join(data, 'hub.json'))?.toString('utf8')
  if (text === undefined)
    throw new HubError('not_found', `${data} is not the data directory of a hub: it has no hub.json`)
  return String((JSON.parse(text) as { id?: unknown }).id)
}

const lockName = 'backup.lock'

/** Keeps a second backup out of the folder. A lock of a process that is gone is taken over. Returns what unlocks. */
function lock(to: string): () => void {
  const path = join(to, lockName)
  const holder = Number(readWholeSync(path)?.toString('utf8') ?? Number.NaN)
  if (holder > 0 && holder !== process.pid && isAlive(holder)) {
    throw new HubError('busy', `another backup into ${to} is under way (process ${holder}); if not, remove ${path}`)
  }
  writeFileSync(path, `${process.pid}\n`, { mode: 0o600 })
  return () => nodeFiles.removeSync(path)
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return systemCode(error) === 'EPERM'
  }
}

class BackupRun {
  readonly #options: BackupOptions
  readonly #before: Manifest | undefined
  readonly #known: ReadonlyMap<string, BackedFile>
  readonly #files: Files
  readonly #chunks: Chunks
  #total = 0
  #done = 0
  #renewed = 0

  constructor(options: BackupOptions, before: Manifest | undefined, files: Files) {
    this.#options = options
    this.#before = before
    this.#known = new Map(before?.files.map(file => [file.path, file]))
    this.#files = files
    this.#chunks = new Chunks(options.to, files)
  }

  async make(hub: string): Promise<BackupResult> {
    try {
      const { to, version, without, hub: running } = this.#options
      for (let attempt = 1; ; attempt++) {
        try {
          const { files, sequence, at } = await this.#copy()
          this.#chunks.sync()
          const { formats } = ownFormats(version)
          const manifest = {
            format: manifestFormat,
            telehub: version,
            at,
            hub,
            sequence,
            running: running !== undefined,
          }
          const whole: Manifest = { ...manifest, formats, without, files }
          writeManifest(to, whole, this.#files)
          // From here on the new backup stands, and what only the one before had can go.
          this.#chunks.sweep(new Set(files.flatMap(({ chunks }) => chunks)))
          return { manifest: whole, bytes: this.#total, written: this.#chunks.writtenBytes }
        } catch (error) {
          if (!(error instanceof StoreChanged)) throw error
          if (attempt < maxAttempts) continue
          throw new HubError('store_unavailable', 'the file of the store was rewritten again and again; try later')
        }
      }
    } catch (error) {
      // A disk that is full gets back what the run has taken. The backup before refers to none of that.
      if (readManifest(this.#options.to, this.#options.version)?.at === this.#before?.at) this.#chunks.undo()
      throw error
    } finally {
      await this.#options.hub?.release().catch(() => {})
    }
  }

  async #copy() {
    const { data, hub, outside, clock } = this.#options
    const capture = new Capture(data)
    try {
      let held: { readonly logBytes: number } | undefined
      let header: Buffer | undefined
      const cut = await capture.take(async () => {
        held = await hub?.hold()
        this.#renewed = clock.now()
        header = headOf(join(data, 'store.duckdb'))
      })
      const at = clock.now()
      const isStore = ({ path }: Captured) => path.startsWith('store.duckdb')
      const captured = cut.files.map(file =>
        file.path === 'store.duckdb.wal' && held ? { ...file, size: Math.min(file.size, held.logBytes) } : file,
      )
      this.#total = captured.reduce((sum, { size }) => sum + size, 0)
      this.#done = 0
      const files: BackedFile[] = []
      // The store first, which is held for no longer than needed.
      for (const file of captured.filter(isStore)) files.push(...(await this.#copyFile(file, at)))
      const after = headOf(join(data, 'store.duckdb'))
      if (hub && header && !after?.equals(header)) throw new StoreChanged('the store was rewritten')
      await hub?.release()
      for (const file of captured.filter(file => !isStore(file))) files.push(...(await this.#copyFile(file, at)))
      for (const [setting, path] of Object.entries(outside)) files.push(...(await this.#copyOutside(setting, path, at)))
      return { files: files.sort((a, b) => (a.path < b.path ? -1 : 1)), sequence: cut.sequence, at }
    } finally {
      capture.close()
    }
  }

  async #copyOutside(setting: string, path: string, at: number): Promise<BackedFile[]> {
    const fd = openIfThere(path)
    if (fd === undefined) return []
    try {
      const { size, ino, mtimeMs } = fstatSync(fd)
      const seen = { inode: ino, size, changed: mtimeMs }
      return await this.#copyFile({ path: `outside/${setting}/${basename(path)}`, size, seen, fd }, at)
    } finally {
      closeSync(fd)
    }
  }

  /** Copies one file. Resolves with none when it is gone. */
  async #copyFile(file: Captured, at: number): Promise<BackedFile[]> {
    const { path, size, seen, bytes } = file
    const known = this.#unchanged(file)
    if (known) {
      this.#tell(size)
      return [known]
    }
    const fd = file.fd ?? (bytes ? undefined : openIfThere(join(this.#options.data, path)))
    if (fd === undefined && !bytes) return []
    const hash = createHash('sha256')
    const chunks: string[] = []
    let length = 0
    try {
      while (length < size) {
        const wanted = Math.min(chunkBytes, size - length)
        const piece =
          bytes?.subarray(length, length + wanted) ?? (await readPiece(nodeFiles, fd as number, length, wanted))
        if (piece.length === 0) break
        hash.update(piece)
        chunks.push(await this.#chunks.put(piece))
        length += piece.length
        this.#tell(piece.length)
        await this.#renew(path)
      }
    } finally {
      if (file.fd === undefined && fd !== undefined) closeSync(fd)
    }
    const isSettled = at - seen.changed > settledMs
    return [{ path, size: length, sha256: hash.digest('hex'), chunks, ...(isSettled && { seen: { ...seen, size } }) }]
  }

  /** Returns the file of the backup before, when it is still the same. */
  #unchanged({ path, size, seen, bytes }: Captured): BackedFile | undefined {
    const known = this.#known.get(path)
    if (!known?.seen || bytes) return undefined
    const { inode, changed } = known.seen
    if (inode !== seen.inode || changed !== seen.changed || known.size !== size) return undefined
    const isWhole = known.chunks.every((name, i) =>
      this.#chunks.has(name, i < known.chunks.length - 1 ? chunkBytes : size - chunkBytes * (known.chunks.length - 1)),
    )
    return isWhole ? known : undefined
  }

  async #renew(path: string): Promise<void> {
    const { hub, clock } = this.#options
    if (!path.startsWith('store.duckdb') || clock.now() - this.#renewed < renewMs) return
    this.#renewed = clock.now()
    await hub?.hold()
  }

  #tell(bytes: number): void {
    this.#done += bytes
    this.#options.progress.report(this.#done, this.#total)
  }
}

/** Returns the headers of a database. Undefined when there is no file. */
function headOf(path: string): Buffer | undefined {
  const fd = openIfThere(path)
  if (fd === undefined) return undefined
  try {
    const head = Buffer.alloc(headerBytes)
    return head.subarray(0, readSync(fd, head, 0, headerBytes, 0))
  } finally {
    closeSync(fd)
  }
}
