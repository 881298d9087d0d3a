import { closeSync, fdatasyncSync, readFileSync, rmSync, statfsSync, writeSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { nodeFiles, openNew } from '../disk/files.js'
import { describe } from '../errors.js'
import { bytes } from '../runtime/terminal.js'
import { listSegments, segmentPath } from '../spool/segment-file.js'
import { type Check, type Examined, type Finding, fine, problem, unreadable, warning } from './finding.js'

/** Checks whether the disk of the data directory keeps written data, and how much space is left. */
export const disk: Check = examined => [fileSystem(examined), sync(examined), freeSpace(examined)]

const moveAdvice = 'Put data.dir on a local disk, such as one with ext4 or XFS.'

/** Judges a file system for a hub that promises to lose nothing. Undefined when as good as a local disk. */
export function judgeFileSystem(type: string, options: string): Omit<Finding, 'check'> | undefined {
  if (['tmpfs', 'ramfs', 'devtmpfs'].includes(type)) {
    return {
      level: 'problem',
      seen: `data.dir is in memory (${type}): a restart of the machine loses everything`,
      advice: moveAdvice,
    }
  }
  if (['overlay', 'aufs', 'unionfs'].includes(type)) {
    return {
      level: 'problem',
      seen: `data.dir is in the writable layer of a container (${type}), which goes when the container is removed`,
      advice: 'Mount a volume at data.dir.',
    }
  }
  if (/^(nfs|cifs|smb|9p|fuse|ceph|glusterfs|afs|virtiofs)/.test(type)) {
    return {
      level: 'warning',
      seen: `data.dir is on a file system of another machine or program (${type}), which may say that bytes are on disk before they are`,
      advice: moveAdvice,
    }
  }
  const isWithoutBarriers = options.split(',').some(option => option === 'nobarrier' || option === 'barrier=0')
  if (!isWithoutBarriers) return undefined
  return {
    level: 'problem',
    seen: `the file system of data.dir is mounted with ${/nobarrier|barrier=0/.exec(options)?.[0]}: a loss of power loses what was said to be on disk`,
    advice: 'Mount it without this option.',
  }
}

/** Finds the mount of a path in the lines of /proc/self/mountinfo: the longest mount point that contains the path. */
export function mountOf(path: string, mountinfo: string): { type: string; options: string } | undefined {
  let best: { point: string; type: string; options: string } | undefined
  for (const line of mountinfo.split('\n')) {
    const [before = '', after = ''] = line.split(' - ')
    const [, , , , rawPoint, mountOptions = ''] = before.split(' ')
    const [type, , superOptions = ''] = after.split(' ')
    if (rawPoint === undefined || type === undefined) continue
    const point = rawPoint.replace(/\\(\d{3})/g, (_, octal) => String.fromCharCode(Number.parseInt(octal, 8)))
    if (path !== point && !path.startsWith(point === '/' ? '/' : `${point}/`)) continue
    // Of two mounts on the same point the later one hides the other.
    if (best === undefined || point.length >= best.point.length) {
      best = { point, type, options: `${mountOptions},${superOptions}` }
    }
  }
  return best && { type: best.type, options: best.options }
}

function fileSystem({ dir, hasDir }: Examined): Finding {
  const check = 'file system'
  let mountinfo: string
  try {
    mountinfo = readFileSync('/proc/self/mountinfo', 'utf8')
  } catch {
    return warning(check, 'this system does not say what data.dir is on', moveAdvice)
  }
  const mount = mountOf(hasDir ? dir : dirname(dir), mountinfo)
  const judged = mount && judgeFileSystem(mount.type, mount.options)
  return judged ? { check, ...judged } : fine(check, `data.dir is on ${mount?.type ?? 'an unknown file system'}`)
}

const syncs = 20
const probeBytes = 4_096

/** The shortest write of which a disk is capable without a cache that survives a loss of power. */
const suspiciousMs = 0.05

/** Slowest time without a warning: each group of QoS 1 messages waits one such write for the acknowledgements. */
const slowMs = 50

/** Judges a disk by the median time of a write with fdatasync. */
export function judgeSync(medianMs: number): Omit<Finding, 'check'> {
  const time = medianMs < 1 ? `${Math.round(medianMs * 1_000)} µs` : `${medianMs.toFixed(1)} ms`
  const seen = `a write with its fdatasync takes ${time} (median of ${syncs})`
  if (medianMs < suspiciousMs) {
    return {
      level: 'warning',
      seen: `${seen}: faster than a disk can be`,
      advice:
        'Make sure that the disk has a cache which survives a loss of power; otherwise the last messages are lost with the power. A virtual machine wants cache=none or writethrough.',
    }
  }
  if (medianMs > slowMs) {
    return {
      level: 'warning',
      seen: `${seen}: devices wait so long for each acknowledgement`,
      advice: 'Look for other programs that write to this disk, or take a faster one. An SD card is slow by nature.',
    }
  }
  return { level: 'fine', seen, advice: '' }
}

function sync({ dir, hasDir, settings }: Examined): Finding {
  const check = 'disk sync'
  if (!hasDir) return fine(check, 'not measured: the hub has not made data.dir yet')
  const path = join(dir, `.doctor-${process.pid}`)
  try {
    const fd = nodeFiles.openSync(path, openNew)
    try {
      const block = Buffer.alloc(probeBytes, 1)
      const times: number[] = []
      for (let i = 0; i < syncs; i++) {
        const from = performance.now()
        writeSync(fd, block, 0, block.length, i * probeBytes)
        fdatasyncSync(fd)
        times.push(performance.now() - from)
      }
      const judged = { check, ...judgeSync(times.sort((a, b) => a - b)[syncs / 2] as number) }
      if (settings['spool.fsync'] === 'group' || judged.level !== 'fine') return judged
      const seen = `${judged.seen}, and spool.fsync is interval: a loss of power loses the last second of acknowledged messages`
      return warning(check, seen, 'Set spool.fsync: group, unless that loss is accepted.')
    } finally {
      closeSync(fd)
      rmSync(path, { force: true })
    }
  } catch (error) {
    return problem(
      check,
      `the disk does not take what is written to ${dir}: ${describe(error)}`,
      'Make room, or fix the disk or its rights; until then the hub acknowledges nothing and devices send again.',
    )
  }
}

/** Number of free files below which a file system is about to refuse new ones. */
const fewFiles = 1_000

function freeSpace({ dir, hasDir, settings }: Examined): Finding {
  const check = 'free space'
  const limit = settings['spool.limit']
  try {
    const { bavail, bsize, files, ffree } = statfsSync(hasDir ? dir : dirname(dir))
    const free = bavail * bsize
    const used = hasDir ? spoolBytes(dir) : 0
    const wanted = Math.max(0, limit - used)
    const seen = `${bytes(free)} free, and the spool may still grow by ${bytes(wanted)} (spool.limit ${bytes(limit)})`
    // File systems that create inodes as needed report 0 of 0.
    if (files > 0 && ffree < fewFiles) {
      return problem(check, `the disk can take ${ffree} more files`, 'Remove files that are not needed on this disk.')
    }
    if (free < settings['spool.segment'] * 2) {
      return problem(check, seen, 'Make room on this disk: soon nothing more will be acknowledged.')
    }
    if (free < wanted) {
      return warning(
        check,
        seen,
        'Make room, or lower spool.limit below what is free: a disk that is full stops the store as well.',
      )
    }
    return fine(check, seen)
  } catch (error) {
    return unreadable(check, dir, error)
  }
}

function spoolBytes(dir: string): number {
  const spool = join(dir, 'spool')
  try {
    return listSegments(spool).reduce((sum, one) => sum + (nodeFiles.sizeOfSync(segmentPath(spool, one)) ?? 0), 0)
  } catch {
    return 0
  }
}
