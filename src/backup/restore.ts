import { randomUUID } from 'node:crypto'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { BalanceSheet, type Totals } from '../accounting/balance-sheet.js'
import { type Files, nodeFiles, openNew, readWholeSync, syncDirectory, synced, writeWhole } from '../disk/files.js'
import { unfinishedRestore } from '../disk/formats.js'
import { replaceFileSync } from '../disk/replace-file.js'
import { HubError } from '../errors.js'
import { type MillisecondClock, machineClock } from '../runtime/time.js'
import { beginAbove, readCut } from '../spool/cursors.js'
import { Chunks } from './chunks.js'
import type { Manifest, Progress } from './manifest.js'

/*
 * `telehub restore`: makes a data directory of a backup.
 *
 * The restored hub is the hub of the backup: it has its identity, so RabbitMQ gives it the receipts of its messages and
 * its readings go to the same series. The original may have assigned sequence numbers after the cut, which other
 * programs may know; the restored hub therefore begins above all that the original can have assigned by now. Two hubs
 * of one identity must not run at the same time: each would take the receipts of the other. A copy that is to run beside
 * the original gets an identity of its own.
 */

export interface RestoreOptions {
  readonly from: string
  readonly manifest: Manifest
  /** The data directory to make: empty, not there, or with an unfinished restore. */
  readonly to: string
  /** Whether the hub gets another identity. */
  readonly newIdentity: boolean
  readonly progress: Progress
  readonly clock: MillisecondClock
  readonly files?: Files
}

/** Numbers passed over at least, and more for each second since the cut than a hub can receive. */
const leapNumbers = 10_000_000
const perSecond = 200_000

/**
 * Restores a backup. Resolves with the balance sheet of the cut when all is on disk. Until then a file
 * `restore.unfinished` is there, and no hub starts in the directory. Rejects with `bad_request` when the directory is
 * not empty, with `data_dir_unusable` when a chunk is damaged, and with the errors of the disk. What was written up to
 * then is removed: a disk that is full gets back what the restore has taken.
 */
export async function restore(options: RestoreOptions): Promise<Totals> {
  const { to, files = nodeFiles } = options
  begin(to, files)
  try {
    return await write(options, files)
  } catch (error) {
    for (const name of files.listSync(to)) rmSync(join(to, name), { recursive: true, force: true })
    throw error
  }
}

async function write(options: RestoreOptions, files: Files): Promise<Totals> {
  const { from, manifest, to, newIdentity, progress, clock } = options
  const chunks = new Chunks(from, files)
  const total = manifest.files.reduce((sum, { size }) => sum + size, 0)
  let done = 0
  const folders = new Set<string>([to])
  for (const { path, chunks: names } of manifest.files) {
    if (path === unfinishedRestore || path.split('/').includes('..')) continue
    const target = join(to, path)
    const folder = join(target, '..')
    if (!folders.has(folder)) files.makeDirectorySync(folder)
    folders.add(folder)
    const fd = files.openSync(target, openNew)
    try {
      let at = 0
      for (const name of names) {
        const bytes = await chunks.get(name)
        await writeWhole(files, fd, bytes, at)
        at += bytes.length
        done += bytes.length
        progress.report(done, total)
      }
      await synced(files, fd)
    } finally {
      files.closeSync(fd)
    }
  }
  const spool = join(to, 'spool')
  const totals = await sheetOf(to)
  const seconds = Math.max(0, (clock.now() - manifest.at) / 1_000)
  beginAbove(spool, manifest.sequence + leapNumbers + Math.ceil(seconds * perSecond), files)
  if (newIdentity) rename(to, files)
  for (const folder of folders) syncDirectory(folder, files)
  files.removeSync(join(to, unfinishedRestore))
  syncDirectory(to, files)
  return totals
}

/** Makes the directory, or clears it of a restore that was not finished. */
function begin(to: string, files: Files): void {
  const mark = join(to, unfinishedRestore)
  if (files.sizeOfSync(to) !== undefined) {
    // A file that was being begun when the restore was killed is of a restore, too.
    const names = files.listSync(to).filter(name => name !== `${unfinishedRestore}.new`)
    if (names.length > 0 && !names.includes(unfinishedRestore)) {
      throw new HubError(
        'bad_request',
        `${to} is not empty (${names.slice(0, 3).join(', ')}): restore into an empty folder`,
      )
    }
    for (const name of names) if (name !== unfinishedRestore) rmSync(join(to, name), { recursive: true, force: true })
  }
  files.makeDirectorySync(to)
  replaceFileSync(mark, 'telehub restore was not finished\n', { files })
}

function rename(to: string, files: Files): void {
  const path = join(to, 'hub.json')
  const known = JSON.parse(readWholeSync(path, files)?.toString('utf8') ?? '{}') as object
  replaceFileSync(path, `${JSON.stringify({ ...known, id: randomUUID() })}\n`, { files })
}

/** Returns the balance sheet of a directory that no hub uses. */
export async function sheetOf(data: string): Promise<Totals> {
  const { sequence: accepted, cursors } = await readCut(join(data, 'spool'))
  const queued = cursors.has('bridge')
  const drained = (cursors.get(queued ? 'bridge' : 'record') ?? 1) - 1
  const sheet = new BalanceSheet({
    dir: join(data, 'balance'),
    offsets: { accepted, drained },
    clock: machineClock,
    incidents: { report: () => {} },
  })
  await sheet.start()
  try {
    return sheet.sheet({ accepted, drained, queued })
  } finally {
    await sheet.stop()
  }
}
