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

/** A record: two halves of the hash, the user's number, and all three combined, which tells a record from damage. */
const recordBytes = 16
const mark = 0x54485331

/** Bytes to read at a time. */
const pieceBytes = recordBytes * 65_536

const writeEveryMs = 1_000

/** Most users that are counted separately. Series of further users count for no user. */
const maxUsers = 10_000

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

  /** Passes every series in the file to `seen`. A disk that refuses does not keep the hub from starting. */
  start(seen: (high: number, low: number, user: string) => void): void {
    this.#readUsers()
    const names = [...this.#users.keys()]
    try {
      this.#read((high, low, user) => seen(high, low, names[user] ?? ''))
    } catch (error) {
      const text = `${this.#path} cannot be read (${describe(error)}): limits.series counts anew`
      this.#incidents?.report('series_count_damaged', text)
    }
    this.#timer = setInterval(() => this.#write(), writeEveryMs)
  }

  add(high: number, low: number, user: string): void {
    let number = this.#users.get(user)
    if (number === undefined) {
      if (this.#users.size >= maxUsers) number = 0
      else {
        number = this.#users.size
        this.#users.set(user, number)
        this.#usersUnwritten = true
      }
    }
    this.#unwritten.push(high, low, number)
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
      if (!Array.isArray(names)) throw new Error('it is no list of names')
      for (const [i, name] of names.slice(0, maxUsers).entries()) this.#users.set(String(name), i)
    } catch (error) {
      const text = `${path} cannot be read (${describe(error)}): the series there are count for no user; ${setAside(path, this.#files)}`
      this.#incidents?.report('series_count_damaged', text)
    }
  }

  #read(seen: (high: number, low: number, user: number) => void): void {
    const fd = this.#open()
    const size = this.#files.sizeSync(fd)
    let damaged = 0
    for (; this.#end + recordBytes <= size; ) {
      const piece = readPieceSync(this.#files, fd, this.#end, Math.min(pieceBytes, size - this.#end))
      const whole = piece.length - (piece.length % recordBytes)
      if (whole === 0) break
      for (let at = 0; at < whole; at += recordBytes) {
        const [high, low, user] = [piece.readUInt32LE(at), piece.readUInt32LE(at + 4), piece.readUInt32LE(at + 8)]
        if (piece.readUInt32LE(at + 12) === checkOf(high, low, user)) seen(high, low, user)
        else damaged++
      }
      this.#end += whole
    }
    if (damaged === 0) return
    const text = `${this.#path}: ${damaged} records are damaged; the series they stand for count anew`
    this.#incidents?.report('series_count_damaged', text)
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
