import { join } from 'node:path'
import type { Files } from '../disk/files.js'
import { isDiskError } from '../disk/retried-write.js'

/** `log` is a journal of JSON records, the format before this one. */
export type SessionFileKind = 'snapshot' | 'journal' | 'log'

/** The snapshots and journals in a folder, by number. */
export class SessionFiles {
  readonly dir: string
  readonly disk: Files

  constructor(dir: string, disk: Files) {
    this.dir = dir
    this.disk = disk
  }

  path(number: number, kind: SessionFileKind): string {
    return join(this.dir, `${String(number).padStart(10, '0')}.${kind}`)
  }

  /** Returns the numbers of the files of each kind, ascending, and the paths of files that were never finished. */
  list() {
    const all = this.disk.listSync(this.dir)
    const numbers = (kind: SessionFileKind) =>
      all
        .filter(name => /^\d{10}\./.test(name) && name.slice(11) === kind)
        .map(name => Number(name.slice(0, 10)))
        .sort((a, b) => a - b)
    return {
      snapshots: numbers('snapshot'),
      journals: numbers('journal'),
      json: numbers('log'),
      unfinished: all.filter(name => name.endsWith('.new')).map(name => join(this.dir, name)),
    }
  }

  /** Returns the paths of snapshots and journals that the snapshot of that number replaces. */
  before(number: number): readonly string[] {
    const { snapshots, journals } = this.list()
    const isOld = (one: number) => one < number
    return [
      ...snapshots.filter(isOld).map(one => this.path(one, 'snapshot')),
      ...journals.filter(isOld).map(one => this.path(one, 'journal')),
    ]
  }

  /** Runs `act` and ignores a disk that refuses, which is no reason not to start. */
  unlessRefused(act: () => void): void {
    try {
      act()
    } catch (error) {
      if (!isDiskError(error)) throw error
    }
  }

  /** Removes a file; the next start removes files that stay. */
  removeOld(path: string): void {
    this.unlessRefused(() => this.disk.removeSync(path))
  }
}
