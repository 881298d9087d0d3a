import { join } from 'node:path'
import { type Files, nodeFiles, readWholeSync } from '../disk/files.js'
import { replaceFileSync } from '../disk/replace-file.js'
import { HubError } from '../errors.js'

/** Shows how far a backup or a restore is. */
export interface Progress {
  /** Called with the bytes done and the bytes of all. */
  report(done: number, total: number): void
}

/** One file of a backup. The chunks are in order, all but the last of the full size. */
export interface BackedFile {
  /** Path in the data directory; of files outside `outside/SETTING/NAME`. */
  readonly path: string
  readonly size: number
  /** SHA-256 of the whole content. */
  readonly sha256: string
  readonly chunks: readonly string[]
  /** Number, size and time of change of the file that was copied: one that has the same is not read again. */
  readonly seen?: Seen | undefined
}

export interface Seen {
  readonly inode: number
  readonly size: number
  readonly changed: number
}

/** What a backup holds, in `telehub-backup.json`. A backup is whole when this file is there. */
export interface Manifest {
  readonly format: number
  readonly telehub: string
  /** When the cut was made, in milliseconds since the epoch. */
  readonly at: number
  /** Id of the hub. */
  readonly hub: string
  /** Every message up to this sequence number that was not stored yet is in the backup. */
  readonly sequence: number
  /** Whether the hub ran. */
  readonly running: boolean
  /** Formats of the files, as in formats.json. */
  readonly formats: Readonly<Record<string, number>>
  /** What belongs to the hub and is not in the backup. */
  readonly without: readonly string[]
  readonly files: readonly BackedFile[]
}

export const manifestFormat = 1
const name = 'telehub-backup.json'

/** Returns the manifest of a backup. Undefined when there is none. Throws a `HubError` for a damaged or newer one. */
export function readManifest(dir: string, version: string, files: Files = nodeFiles): Manifest | undefined {
  const path = join(dir, name)
  const text = readWholeSync(path, files)?.toString('utf8')
  if (text === undefined) return undefined
  let manifest: Manifest
  try {
    manifest = JSON.parse(text) as Manifest
    if (!Number.isSafeInteger(manifest.format) || !Array.isArray(manifest.files)) throw new Error('not a manifest')
  } catch (error) {
    throw new HubError('data_dir_unusable', `${path} is damaged`, { cause: error })
  }
  if (manifest.format > manifestFormat) {
    throw new HubError(
      'data_dir_unusable',
      `${path} has format ${manifest.format}, and telehub ${version} reads formats up to ${manifestFormat}: use telehub ${manifest.telehub} or a newer one`,
    )
  }
  return manifest
}

/** Replaces the manifest: from then on the backup is the new one. Throws the error of the disk. */
export function writeManifest(dir: string, manifest: Manifest, files: Files = nodeFiles): void {
  replaceFileSync(join(dir, name), `${JSON.stringify(manifest)}\n`, { files })
}
