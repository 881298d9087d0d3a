import { lstatSync, readdirSync, readFileSync, rmSync, type Stats, statSync } from 'node:fs'
import { join, relative } from 'node:path'
import { nodeFiles, openToRead } from '../disk/files.js'
import { newerFormats } from '../disk/formats.js'
import { readFrames } from '../disk/frame-file.js'
import { describe } from '../errors.js'
import { auditDir, verifyAudit } from '../observe/audit-chain.js'
import { plain } from '../observe/log.js'
import { bytes, many } from '../runtime/terminal.js'
import { isSnapshotEnd } from '../sessions/session-snapshot.js'
import { CursorFile, type CursorPlace, listCursors } from '../spool/cursor-file.js'
import { decodeMessage } from '../spool/message-codec.js'
import { listSegments, readStamp, segmentHeaderBytes, segmentPath } from '../spool/segment-file.js'
import { type Check, type Examined, type Finding, fine, problem, unreadable, warning } from './finding.js'

/** Checks the contents of the data directory with the readers that recovery uses. Changes nothing. */
export const state: Check = async examined => {
  const { dir, hasDir } = examined
  if (!hasDir) return []
  const spool = readSpool(examined)
  return [
    ...spool.findings,
    ...cursors(dir, spool),
    ...journals(examined),
    ...(await auditLog(examined)),
    ...formats(dir),
    ...jsonFiles(dir),
    ...leftovers(examined),
  ]
}

const diskAdvice = 'Look for errors of this disk (dmesg, smartctl), and keep a copy of data.dir before the hub starts.'

/** Most places named in a finding; the others are counted. */
const maxNamed = 3

interface FrameFile {
  /** Bytes behind the header that belong to no frame, with a frame behind them. */
  readonly damaged: number
  /** Bytes behind the last whole frame. */
  readonly tail: number
}

/**
 * Reads a whole file of frames. Throws errors of the disk, and when the path is no regular file, as a pipe would never
 * end.
 */
function readFrameFile(path: string, from: number, frame: (body: Buffer) => void): FrameFile {
  if (!lstatSync(path).isFile()) throw new Error('it is not a file')
  const fd = nodeFiles.openSync(path, openToRead)
  try {
    let damaged = 0
    const end = readFrames(fd, { frame, damaged: (_at, length) => (damaged += length) }, from)
    return { damaged, tail: Math.max(0, nodeFiles.sizeSync(fd) - end) }
  } finally {
    nodeFiles.closeSync(fd)
  }
}

interface SpoolState {
  readonly findings: Finding[]
  /** The first sequence numbers of the segments, and the last sequence number of the spool. */
  readonly segments: readonly number[]
  readonly last: number
}

function readSpool({ dir, hub }: Examined): SpoolState {
  const check = 'spool'
  const folder = join(dir, 'spool')
  const findings: Finding[] = []
  let segments: number[]
  try {
    segments = listSegments(folder)
  } catch (error) {
    const isMissing = nodeFiles.sizeOfSync(folder) === undefined
    return { findings: isMissing ? [] : [unreadable(check, folder, error)], segments: [], last: 0 }
  }
  let messages = 0
  let size = 0
  let unknown = 0
  let last = 0
  const bad: string[] = []
  for (const [i, segment] of segments.entries()) {
    const path = segmentPath(folder, segment)
    const isNewest = i === segments.length - 1
    try {
      const { damaged, tail } = readFrameFile(path, segmentHeaderBytes, body => {
        const message = decodeMessage(body)
        if (!message) unknown++
        else {
          messages++
          last = Math.max(last, message.sequence)
        }
      })
      size += nodeFiles.sizeOfSync(path) ?? 0
      const name = relative(dir, path)
      if (damaged > 0) bad.push(`${name}: ${bytes(damaged)} in the middle`)
      else if (isNewest && hub !== undefined) continue
      else if (!hasHeader(path)) bad.push(`${name}: its header`)
      else if (tail > 0 && isNewest) {
        findings.push(
          fine(
            check,
            `the newest segment ends in ${bytes(tail)} of a write that was cut short and never acknowledged; the next start cuts them off`,
          ),
        )
      } else if (tail > 0) bad.push(`${name}: ${bytes(tail)} at its end`)
    } catch (error) {
      findings.push(unreadable(check, path, error))
    }
  }
  if (bad.length > 0) {
    findings.push(
      problem(
        check,
        `damaged: ${some(bad)}; what is whole is kept, and the messages in the damage are lost`,
        `The hub steps over the damage and keeps a copy as .bad. ${diskAdvice}`,
      ),
    )
  }
  if (unknown > 0) {
    findings.push(
      problem(
        check,
        `${many(unknown, 'message')} of a newer version of telehub, which this one skips`,
        'Start that version until the spool is empty.',
      ),
    )
  }
  if (findings.length === 0)
    findings.push(fine(check, `${many(messages, 'message')}, ${bytes(size)} in ${many(segments.length, 'segment')}`))
  return { findings, segments, last }
}

function hasHeader(path: string): boolean {
  const head = Buffer.alloc(segmentHeaderBytes)
  const fd = nodeFiles.openSync(path, openToRead)
  try {
    nodeFiles.readSync(fd, head, 0, head.length, 0)
  } finally {
    nodeFiles.closeSync(fd)
  }
  return readStamp(head) !== undefined
}

function cursors(dir: string, { segments, last }: SpoolState): Finding[] {
  const check = 'cursors'
  const folder = join(dir, 'spool')
  if (segments.length === 0) return []
  const found: Finding[] = []
  const places: string[] = []
  for (const name of listCursors(folder)) {
    let place: CursorPlace | undefined
    try {
      place = new CursorFile(folder, name, nodeFiles).read().place
    } catch (error) {
      found.push(unreadable(check, join(folder, `${name}.cursor`), error))
      continue
    }
    if (!place) {
      found.push(
        problem(
          check,
          `${name}.cursor is damaged in both of its halves: its reader begins again at the oldest message`,
          'Nothing has to be done: messages that are stored already are written once more, which changes nothing.',
        ),
      )
    } else if (last > 0 && place.sequence > last + 1) {
      found.push(
        problem(
          check,
          `${name}.cursor wants message ${place.sequence}, and the spool ends at ${last}: ${many(place.sequence - last - 1, 'message')} are gone`,
          'Was data.dir brought back from a copy, or was power lost with spool.fsync interval? The hub goes on behind the gap.',
        ),
      )
    } else places.push(`${name} at ${place.sequence}`)
  }
  return found.length > 0 ? found : [fine(check, `${places.join(', ')}; the spool ends at ${last}`)]
}

/** Checks every other folder of data.dir that has journals: sessions, balance, dead letters. */
function journals({ dir, hub }: Examined): Finding[] {
  const found: Finding[] = []
  for (const folder of readdirSync(dir, { withFileTypes: true })) {
    if (!folder.isDirectory() || folder.name === 'spool') continue
    const check = folder.name === 'dead' ? 'dead letters' : folder.name
    const bad: string[] = []
    let frames = 0
    let files = 0
    let torn = 0
    for (const name of readdirSync(join(dir, folder.name)).sort()) {
      if (!/^\d{10}(\.\d+)?\.(log|gone|journal|snapshot)$/.test(name)) continue
      const path = join(dir, folder.name, name)
      try {
        let isEnded = false
        const { damaged, tail } = readFrameFile(path, 0, body => {
          frames++
          isEnded = isSnapshotEnd(body)
        })
        files++
        if (damaged > 0) bad.push(`${relative(dir, path)}: ${bytes(damaged)} in the middle`)
        else if (name.endsWith('.snapshot') && !isEnded) bad.push(`${relative(dir, path)}: its end is missing`)
        else if (hub === undefined) torn += tail
      } catch (error) {
        found.push(unreadable(check, path, error))
      }
    }
    if (bad.length > 0) {
      found.push(
        problem(
          check,
          `damaged: ${some(bad)}; the records in the damage are lost`,
          `The hub steps over the damage. ${diskAdvice}`,
        ),
      )
    } else if (files > 0) {
      const cut = torn > 0 ? `; ${bytes(torn)} of a write that was cut short go at the next start` : ''
      found.push(fine(check, `${many(frames, 'record')} in ${many(files, 'file')}${cut}`))
    }
  }
  return found
}

async function auditLog({ dir, hub }: Examined): Promise<Finding[]> {
  const check = 'audit log'
  const folder = auditDir(dir)
  if (nodeFiles.sizeOfSync(folder) === undefined) return []
  // A running hub is writing the last line.
  if (hub !== undefined) return [fine(check, 'not verified while the hub writes to it: telehub audit verify does it')]
  try {
    const { first, last, faults } = await verifyAudit(folder)
    // A hub that was killed leaves an unfinished last line.
    const real = faults.filter((fault, i) => i < faults.length - 1 || !fault.includes('is not finished'))
    if (last === 0 && real.length === 0) return [fine(check, 'empty')]
    if (real.length === 0) return [fine(check, `lines ${first} to ${last}, each with the hash of the one before`)]
    return [
      problem(
        check,
        plain(some(real)),
        'A line was changed, put in or taken out, or the file is damaged: telehub audit verify shows all; compare with a copy.',
      ),
    ]
  } catch (error) {
    return [unreadable(check, folder, error)]
  }
}

function formats(dir: string): Finding[] {
  const advice = 'A hub of this version does not start here, and changes nothing.'
  try {
    return newerFormats(dir, '').map(sentence => problem('formats', sentence, advice))
  } catch (error) {
    return [unreadable('formats', dir, error)]
  }
}

function jsonFiles(dir: string): Finding[] {
  const check = 'state files'
  const names = readdirSync(dir).filter(name => name.endsWith('.json'))
  const found = names.flatMap((name): Finding[] => {
    const path = join(dir, name)
    let text: string
    try {
      text = readFileSync(path, 'utf8')
    } catch (error) {
      return [unreadable(check, path, error)]
    }
    try {
      JSON.parse(text)
      return []
    } catch (error) {
      const advice =
        name === 'hub.json'
          ? 'Bring it back from a copy of data.dir. Without one remove it: the hub gets a new identity, and RabbitMQ a new queue for its receipts.'
          : 'Bring it back from a copy of data.dir, or remove it: the hub makes it again from what it receives.'
      return [problem(check, `${path} is damaged: ${describe(error)}`, advice)]
    }
  })
  return found.length > 0 || names.length === 0 ? found : [fine(check, `${names.join(', ')}: whole`)]
}

/** Reports files that the hub does not use: set aside after damage, or begun and never finished. */
function leftovers({ dir, hub, clock }: Examined): Finding[] {
  const check = 'leftovers'
  const kept: string[] = []
  const begun: string[] = []
  for (const name of readdirSync(dir, { recursive: true, encoding: 'utf8' })) {
    const path = join(dir, name)
    const stats = statSync(path, { throwIfNoEntry: false })
    if (!stats?.isFile()) continue
    if (/\.bad(\.\d+)?$|\.damaged-/.test(name)) kept.push(`${name} (${sizeAndAge(stats, clock.now())})`)
    else if (/(\.new|^\.doctor-\d+|^\.writable|\/probe)$/.test(name) && clock.now() - stats.mtimeMs > unfinishedMs)
      begun.push(path)
  }
  const found: Finding[] = []
  if (kept.length > 0) {
    found.push(
      warning(
        check,
        `kept after damage: ${some(kept)}`,
        'Look at what is in them, or give them to those who fix such files; when nobody needs them any more, remove them. The hub never does.',
      ),
    )
  }
  if (begun.length > 0) {
    const names = begun.map(path => relative(dir, path))
    const removal = {
      does: `remove ${some(names)}`,
      run: () => {
        for (const path of begun) rmSync(path, { force: true })
      },
    }
    const advice =
      'They hold nothing; telehub doctor --repair removes them while no hub runs, and a start of the hub does.'
    found.push(
      warning(check, `begun and never finished: ${some(names)}`, advice, hub === undefined ? removal : undefined),
    )
  }
  return found.length > 0 ? found : [fine(check, 'none')]
}

/** The age from which an unfinished file counts as left over: a file that a running hub is writing is younger. */
const unfinishedMs = 60_000

function sizeAndAge({ size, mtimeMs }: Stats, now: number): string {
  return `${bytes(size)}, ${Math.max(0, Math.round((now - mtimeMs) / 864e5))} days old`
}

function some(names: readonly string[]): string {
  const more = names.length - maxNamed
  return names.slice(0, maxNamed).join('; ') + (more > 0 ? `; and ${more} more` : '')
}
