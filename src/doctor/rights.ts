import { chmodSync, lstatSync, readdirSync, type Stats } from 'node:fs'
import { join, relative, resolve } from 'node:path'
import type { Settings } from '../config/settings.js'
import { systemCode } from '../errors.js'
import { type Check, type Examined, type Finding, fine, problem, type Repair, unreadable, warning } from './finding.js'

/** Checks which users may read and write the files of the hub. */
export const rights: Check = examined => [...dataFiles(examined), ...secretFiles(examined.settings)]

/** Most files named in a finding; the others are counted. */
const maxNamed = 3

function dataFiles({ dir, hasDir }: Examined): Finding[] {
  const check = 'data files'
  if (!hasDir) return [fine(check, `${dir} is not there yet: the hub makes it, for its user alone`)]
  let all: { path: string; stats: Stats }[]
  try {
    all = filesIn(dir)
  } catch (error) {
    return [unreadable(check, dir, error)]
  }
  const found: Finding[] = []
  const named = (which: (one: { path: string; stats: Stats }) => boolean) => all.filter(which)
  const own = process.geteuid?.() ?? 0
  const [top] = all
  const owner = top?.stats.uid ?? own

  const foreign = named(({ stats }) => stats.uid !== owner)
  if (own !== 0 && owner !== own) {
    found.push(
      warning(
        check,
        `${dir} belongs to user ${owner}, and this is user ${own}`,
        'Run telehub doctor as the user of the hub.',
      ),
    )
  }
  if (foreign.length > 0) {
    found.push(
      problem(
        check,
        `${list(dir, foreign)} not owned by user ${owner}, as ${dir} is`,
        `Give them to the user of the hub: chown -R ${owner} ${dir}.`,
      ),
    )
  }
  const links = named(({ stats }) => stats.isSymbolicLink())
  if (links.length > 0) {
    found.push(
      problem(
        check,
        `${list(dir, links)} symbolic ${links.length === 1 ? 'link' : 'links'}, which the hub does not follow`,
        'Move the files themselves into data.dir, or name another data.dir.',
      ),
    )
  }
  const files = all.filter(({ stats }) => !stats.isSymbolicLink() && !stats.isSocket())
  const writable = files.filter(({ stats }) => (stats.mode & 0o022) !== 0)
  if (writable.length > 0) {
    found.push(
      problem(
        check,
        `${list(dir, writable)} writable by other users of this machine`,
        'Take that right away: telehub doctor --repair does it.',
        narrow(writable),
      ),
    )
  }
  const readable = files.filter(one => (one.stats.mode & 0o055) !== 0 && !writable.includes(one))
  // Files in a folder that others cannot enter are safe from them.
  const isClosed = top !== undefined && (top.stats.mode & 0o077) === 0
  if (readable.length > 0 && !isClosed) {
    found.push(
      warning(
        check,
        `${list(dir, readable)} readable by other users of this machine`,
        'Take that right away: telehub doctor --repair does it.',
        narrow(readable),
      ),
    )
  }
  return found.length > 0
    ? found
    : [fine(check, `${all.length} files and folders in ${dir} are for user ${owner} alone`)]
}

/** Lists the folder, then all files and folders in that folder. */
function filesIn(dir: string): { path: string; stats: Stats }[] {
  const found = [{ path: dir, stats: lstatSync(dir) }]
  for (const name of readdirSync(dir, { recursive: true, encoding: 'utf8' })) {
    const path = join(dir, name)
    try {
      found.push({ path, stats: lstatSync(path) })
    } catch (error) {
      // Removed by a running hub.
      if (systemCode(error) !== 'ENOENT') throw error
    }
  }
  return found
}

function list(dir: string, files: readonly { path: string }[]): string {
  const names = files.slice(0, maxNamed).map(({ path }) => relative(dir, path) || dir)
  const more = files.length > maxNamed ? ` and ${files.length - maxNamed} more` : ''
  return `${names.join(', ')}${more} ${files.length === 1 ? 'is' : 'are'}`
}

/** Returns the repair that removes the rights of group and others, and nothing else. */
function narrow(files: readonly { path: string; stats: Stats }[]): Repair {
  return {
    does: `chmod go-rwx on ${files.length === 1 ? files[0]?.path : `${files.length} files and folders`}`,
    run: () => {
      for (const { path, stats } of files) chmodSync(path, stats.mode & 0o7700)
    },
  }
}

/** Checks the files outside of data.dir that hold secrets. */
function secretFiles(settings: Settings): Finding[] {
  return (['auth.file', 'notify.file', 'tls.key'] as const).flatMap(setting => {
    const path = settings[setting] && resolve(settings[setting])
    if (!path) return []
    try {
      const stats = lstatSync(path)
      // The hub may have access to the key of the machine through a group.
      const bits = setting === 'tls.key' ? 0o027 : 0o077
      if (stats.isSymbolicLink() || (stats.mode & bits) === 0)
        return [fine(setting, `${path} is kept from other users`)]
      const repair: Repair = {
        does: `chmod ${((stats.mode & 0o777 & ~bits) | 0o400).toString(8)} ${path}`,
        run: () => chmodSync(path, stats.mode & 0o7777 & ~bits),
      }
      const seen = `${path} may be read or written by other users of this machine`
      return [problem(setting, seen, 'Take that right away: telehub doctor --repair does it.', repair)]
    } catch (error) {
      // A missing file is reported by the checks of users and certificates.
      return systemCode(error) === 'ENOENT' ? [] : [unreadable(setting, path, error)]
    }
  })
}
