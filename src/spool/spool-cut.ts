import { join } from 'node:path'
import { type Files, nodeFiles, openToRead, readWholeSync } from '../disk/files.js'
import { replaceFileSync } from '../disk/replace-file.js'
import { CursorFile, listCursors } from './cursor-file.js'
import { listSegments, scanSegment, segmentPath } from './segment-file.js'

/*
 * A spool as a backup finds one, and as a restore leaves one.
 *
 *     spool/restored    a number in digits: the hub that starts here assigns only greater sequence numbers
 */

export interface SpoolCut {
  /** The last sequence number. */
  readonly sequence: number
  /** Where the last whole message of the newest segment ends. */
  readonly end: number
  /** The next sequence number of each reader, by name. */
  readonly cursors: ReadonlyMap<string, number>
}

/** Reads the end of the newest segment that `fd` has open, whose first number is `segment`. Changes nothing. */
export async function endOfSegment(fd: number, segment: number, files: Files = nodeFiles) {
  const { sequence, end } = await scanSegment(files, fd)
  return { sequence: Math.max(sequence, segment - 1), end }
}

/** Reads a spool that no hub uses, without changing anything. Rejects with the errors of the disk. */
export async function readCut(dir: string, files: Files = nodeFiles): Promise<SpoolCut> {
  const newest = listSegments(dir, files).at(-1)
  let end = { sequence: 0, end: 0 }
  if (newest !== undefined) {
    const fd = files.openSync(segmentPath(dir, newest), openToRead)
    try {
      end = await endOfSegment(fd, newest, files)
    } finally {
      files.closeSync(fd)
    }
  }
  const cursors = new Map<string, number>()
  for (const name of listCursors(dir, files)) {
    const { place } = new CursorFile(dir, name, files).read()
    if (place) cursors.set(name, place.sequence)
  }
  return { ...end, cursors }
}

const pathOf = (dir: string) => join(dir, 'restored')

/** Makes the hub that starts on this spool go on with numbers above `sequence`: lower ones may be known elsewhere. */
export function beginAbove(dir: string, sequence: number, files: Files = nodeFiles): void {
  files.makeDirectorySync(dir)
  replaceFileSync(pathOf(dir), `${sequence}\n`, { files })
}

/** Returns the number that {@link beginAbove} has left; 0 without one. */
export function restoredNumber(dir: string, files: Files): number {
  const number = Number(readWholeSync(pathOf(dir), files)?.toString('latin1') ?? 0)
  return Number.isSafeInteger(number) ? number : 0
}
