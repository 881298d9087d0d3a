import { setAside } from '../disk/damaged.js'
import {
  type Files,
  nodeFiles,
  openNew,
  openToChange,
  readPieceSync,
  readWholeSync,
  writeWholeSync,
} from '../disk/files.js'
import { replaceFileSync } from '../disk/replace-file.js'
import { describe, systemCode } from '../errors.js'
import type { IncidentReporter } from '../observe/incidents.js'

/**
 * A record: two halves of the hash, the user's number, and all three combined, which tells a record from damage. A
 * series that was forgotten has one more record, with the highest bit of the user's number set.
 */
const recordBytes = 16
const mark = 0x54485331
const forgotten = 0x80000000

/** Bytes to read at a time. */
const pieceBytes = recordBytes * 65_536

const writeEveryMs = 1_000

/** Most users that are counted separately. Series of further users count for no user. */
const maxUsers = 10_000

type OnSeries = (high: number, low: number, user: string) => void

/**
 * The series that were seen, in two files: `path` has a record of 16 bytes for each, `path.users` the names of the
 * users that began them. Series of the last second that a crash takes away are seen again with their next message.
 */
export class SeenSeries {
  readonly #path: string
  readonly #incidents: IncidentReporter | undefined
  readonly #files: Files
  readonly #users = new Map<string, number>([['', 0]])
  #usersUnwritten = false
  #fd: number | undefined
  #end = 0
  /** Records to write, as numbers. */
  #unwritten: number[] = []
  #timer: NodeJS.Timeout | undefined

  constructor(path: string, incidents?: IncidentReporter, files: Files = nodeFiles) {
    this.#path = path
    this.#incidents = incidents
    this.#files = files
  }

  /** Passes every series in the file to `seen`, and then, if it was forgotten, to `gone`. A disk that refuses does not keep the hub from starting. */
  start(seen: OnSeries, gone: OnSeries): void {
    this.#readUsers()
    const names = [...this.#users.keys()]
    try {
      this.#read((high, low, user) =>
        user >= forgotten ? gone(high, low, names[user - forgotten] ?? '') : seen(high, low, names[user] ?? ''),
      )
    } catch (error) {
      const text = `${this.#path} cannot be read (${describe(error)}): limits.series is counted again`
      this.#incidents?.report('series_count_damaged', text)
    }
    this.#timer = setInterval(() => this.#write(), writeEveryMs)
  }

  add(high: number, low: number, user: string): void {
    this.#unwritten.push(high, low, this.#numberOf(user))
  }

  /** Returns the user that began a series. Undefined when that is not known: the file cannot be read, for instance. */
  userOf(high: number, low: number): string | undefined {
    let found: number | undefined
    const take = (one: number, other: number, user: number) => {
      if (one === high && other === low && user < forgotten) found = user
    }
    this.#write()
    try {
      const fd = this.#open()
      this.#records(fd, 0, this.#end, take)
    } catch {
      return undefined
    }
    return found === undefined ? undefined : [...this.#users.keys()][found]
  }

  /** Forgets a series that this user began. */
  forget(high: number, low: number, user: string): void {
    this.#unwritten.push(high, low, this.#numberOf(user) + forgotten)
  }

  #numberOf(user: string): number {
    let number = this.#users.get(user)
    if (number === undefined) {
      if (this.#users.size >= maxUsers) number = 0
      else {
        number = this.#users.size
        this.#users.set(user, number)
        this.#usersUnwritten = true
      }
    }
    return number
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer)
    this.#write()
    if (this.#fd !== undefined) this.#files.closeSync(this.#fd)
    this.#fd = undefined
  }

  #readUsers(): void {
    const path = `${this.#path}.users`
    try {
      const text = readWholeSync(path, this.#files)
      if (text === undefined) return
      const names = JSON.parse(text.toString('utf8')) as unknown
      if (!Array.isArray(names)) throw new Error('it is not a list of names')
      for (const [i, name] of names.slice(0, maxUsers).entries()) this.#users.set(String(name), i)
    } catch (error) {
      const text = `${path} cannot be read (${describe(error)}): existing series count for no user; ${setAside(path, this.#files)}`
      this.#incidents?.report('series_count_damaged', text)
    }
  }

  #read(found: (high: number, low: number, user: number) => void): void {
    const fd = this.#open()
    const { end, damaged } = this.#records(fd, 0, this.#files.sizeSync(fd), found)
    this.#end = end
    if (damaged === 0) return
    const text = `${this.#path}: ${damaged} records are damaged; their series are counted again`
    this.#incidents?.report('series_count_damaged', text)
  }

  /** Passes the records between two offsets to `found`. Returns where the last one ends, and how many are damaged. */
  #records(fd: number, from: number, to: number, found: (high: number, low: number, user: number) => void) {
    let end = from
    let damaged = 0
    while (end + recordBytes <= to) {
      const piece = readPieceSync(this.#files, fd, end, Math.min(pieceBytes, to - end))
      const whole = piece.length - (piece.length % recordBytes)
      if (whole === 0) break
      for (let at = 0; at < whole; at += recordBytes) {
        const [high, low, user] = [piece.readUInt32LE(at), piece.readUInt32LE(at + 4), piece.readUInt32LE(at + 8)]
        if (piece.readUInt32LE(at + 12) === checkOf(high, low, user)) found(high, low, user)
        else damaged++
      }
      end += whole
    }
    return { end, damaged }
  }

  #open(): number {
    if (this.#fd !== undefined) return this.#fd
    try {
      this.#fd = this.#files.openSync(this.#path, openToChange)
    } catch (error) {
      if (systemCode(error) !== 'ENOENT') throw error
      this.#fd = this.#files.openSync(this.#path, openNew)
    }
    return this.#fd
  }

  /** Writes the new records. Records that the disk refuses are written with the next ones. */
  #write(): void {
    try {
      if (this.#usersUnwritten) {
        replaceFileSync(`${this.#path}.users`, JSON.stringify([...this.#users.keys()]), { files: this.#files })
        this.#usersUnwritten = false
      }
      const count = this.#unwritten.length / 3
      if (count === 0) return
      const bytes = Buffer.allocUnsafe(count * recordBytes)
      for (let i = 0; i < count; i++) {
        const [high = 0, low = 0, user = 0] = this.#unwritten.slice(i * 3, i * 3 + 3)
        const at = i * recordBytes
        bytes.writeUInt32LE(high, at)
        bytes.writeUInt32LE(low, at + 4)
        bytes.writeUInt32LE(user, at + 8)
        bytes.writeUInt32LE(checkOf(high, low, user), at + 12)
      }
      writeWholeSync(this.#files, this.#open(), bytes, this.#end)
      this.#end += bytes.length
      this.#unwritten = []
    } catch {
      // The records are written at the same place with the next ones. Until then a restart sees these series anew.
    }
  }
}

function checkOf(high: number, low: number, user: number): number {
  return (high ^ low ^ user ^ mark) >>> 0
}
