import { join } from 'node:path'
import { HubError } from '../errors.js'
import { type Files, nodeFiles, openToRead, readPieceSync, readWholeSync } from './files.js'
import { replaceFileSync } from './replace-file.js'
import { isDiskError } from './retried-write.js'

/*
 * The format numbers of the files in a data directory, in data.dir/formats.json:
 *
 *     {"format":1,"telehub":"0.1.0","formats":{"spool":1,"cursors":1,…}}
 *
 * One file says them for all, so that a telehub reads them before it opens, cuts or sets aside anything: a file of a
 * newer telehub looks like a damaged one. A directory without this file is of a version before the numbers, and all its
 * files have format 1. Whoever changes the bytes of a file in a way that the versions before cannot read raises the
 * number of its kind here.
 */

/** A kind of file in a data directory. */
export interface FileKind {
  readonly name: string
  /** Paths in the data directory of the files of this kind. */
  readonly paths: RegExp
  /** The newest format that this version reads, and the one that it writes. */
  readonly format: number
}

const ownFormat = 1
const fileName = 'formats.json'

/** The file beside which a restore is at work, or was when it was killed. */
export const unfinishedRestore = 'restore.unfinished'

const kind = (name: string, paths: RegExp, format = 1): FileKind => ({ name, paths, format })

/** Every kind of file that the hub keeps. The first that a path matches is the kind of the file. */
export const fileKinds: readonly FileKind[] = [
  kind('cursors', /^spool\/[^/]+\.cursor$/),
  kind('spool', /^spool\//),
  kind('sessions', /^sessions\//),
  kind('balance', /^balance\//),
  kind('cluster', /^cluster\//),
  kind('dead letters', /^dead(\.index|\/)/),
  kind('outlets', /^outlets\//),
  // 2: with roll-ups. DuckDB's own table `format` has the same number.
  kind('store', /^store\.(duckdb|json)/, 2),
  kind('commands', /^commands\//),
  kind('shadows', /^shadows\//),
  kind('requests', /^requests\//),
  kind('alerts', /^alerts(\/|\.)/),
  kind('notifications', /^notify(\/|\.)/),
  kind('boards', /^boards\./),
  kind('mapping', /^mapping\./),
  kind('past', /^past\./),
  kind('registry', /^registry\./),
  kind('rhythms', /^rhythms\./),
  kind('knowledge', /^knowledge\./),
  kind('sparkplug', /^sparkplug\//),
  kind('series', /^series\./),
  kind('handling', /^(handling|process)\//),
  kind('archive', /^archive\//),
  kind('imports', /^imports\./),
  kind('audit log', /^audit\//),
  kind('logins', /^logins\./),
  kind('bans', /^(bans|known)\./),
  kind('shares', /^shares\./),
  kind('identity', /^hub\.json/),
  kind('keys', /^(admin|salt)\.key$/),
]

interface KeptFormats {
  readonly format: number
  readonly telehub: string
  readonly formats: Readonly<Record<string, number>>
}

/** Returns the numbers of this version, as `formats.json` has them. */
export function ownFormats(version: string): KeptFormats {
  const formats = Object.fromEntries(fileKinds.map(({ name, format }) => [name, format]))
  return { format: ownFormat, telehub: version, formats }
}

/**
 * Returns a sentence about each kind of file whose format is newer than this version reads. Changes nothing. Throws the
 * errors of the disk.
 *
 * @param version For the sentence; empty where it is not known.
 */
export function newerFormats(dir: string, version: string, files: Files = nodeFiles): string[] {
  const kept = readFormats(dir, files)
  const by = kept && kept.telehub !== version ? `telehub ${kept.telehub} or a newer one` : 'a newer telehub'
  const path = join(dir, fileName)
  if (kept && kept.format > ownFormat) return [sentence(path, kept.format, ownFormat, version, by)]
  const found = fileKinds.flatMap(({ name, format }) => {
    const given = kept?.formats[name] ?? 1
    return given > format ? [sentence(`${dir}: ${name}`, given, format, version, by)] : []
  })
  return found.length > 0 ? found : newerSegment(join(dir, 'spool'), version, files)
}

function sentence(what: string, given: number, read: number, version: string, by: string): string {
  const self = version === '' ? 'this telehub' : `telehub ${version}`
  return `${what} has format ${given}, and ${self} reads formats up to ${read}: start ${by}; nothing was changed`
}

/** The segments say their format themselves, too: a segment may have been copied here by hand. */
function newerSegment(dir: string, version: string, files: Files): string[] {
  if (files.sizeOfSync(dir) === undefined) return []
  const newest = files
    .listSync(dir)
    .filter(name => /^\d{16}\.seg$/.test(name))
    .sort()
    .at(-1)
  if (newest === undefined) return []
  const path = join(dir, newest)
  const fd = files.openSync(path, openToRead)
  try {
    const given = /^THSPOOL(\d)$/.exec(readPieceSync(files, fd, 0, 8).toString('latin1'))?.[1]
    return Number(given ?? 1) > 1 ? [sentence(path, Number(given), 1, version, 'the telehub that wrote it')] : []
  } finally {
    files.closeSync(fd)
  }
}

/** Returns the numbers of a directory. Undefined in a directory without them, and when the file is damaged. */
function readFormats(dir: string, files: Files): KeptFormats | undefined {
  const text = readWholeSync(join(dir, fileName), files)?.toString('utf8')
  if (text === undefined) return undefined
  try {
    const { format = 1, telehub = '', formats = {} } = JSON.parse(text) as Partial<KeptFormats>
    return { format, telehub, formats }
  } catch {
    return undefined
  }
}

/**
 * Refuses a data directory that a newer telehub has written, before anything in it is opened: throws a `HubError`,
 * `data_dir_unusable`, that says which file has which format and which telehub is needed. Otherwise notes the formats
 * of this version there, if `mayWrite`.
 */
export function openFormats(dir: string, version: string, mayWrite: boolean, files: Files = nodeFiles): void {
  try {
    if (files.sizeOfSync(join(dir, unfinishedRestore)) !== undefined) {
      throw unusable(`a restore into ${dir} was not finished: run telehub restore again`)
    }
    const newer = newerFormats(dir, version, files)
    if (newer.length > 0) throw unusable(newer.join('\n'))
    const own = ownFormats(version)
    const kept = readFormats(dir, files)
    // Kinds that only other versions know keep their numbers.
    const text = `${JSON.stringify({ ...own, formats: { ...kept?.formats, ...own.formats } })}\n`
    if (mayWrite && text !== `${JSON.stringify(kept)}\n`) replaceFileSync(join(dir, fileName), text, { files })
  } catch (error) {
    // A disk that is full or read-only is no reason to refuse: the next start notes the formats.
    if (error instanceof HubError || !isDiskError(error)) throw error
  }
}

function unusable(text: string): HubError {
  return new HubError('data_dir_unusable', `data.dir: ${text}`)
}
