import { closeSync, constants, fstatSync, ftruncateSync, mkdirSync, openSync, readSync } from 'node:fs'
import { type FileHandle, open, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Settings } from '../config/settings.js'
import { describe } from '../errors.js'
import type { Part } from '../runtime/lifecycle.js'
import type { MillisecondClock } from '../runtime/time.js'
import type { AlarmCheck } from './alarms.js'
import type { AuditSink } from './audit.js'
import {
  type AuditEvent,
  auditDir,
  auditFileName,
  auditFiles,
  auditHash,
  auditLine,
  noHash,
  parseAuditLine,
} from './audit-chain.js'
import type { IncidentReporter } from './incidents.js'
import type { SentenceLog } from './log.js'

export interface AuditLogOptions {
  /** The folder of the log; created when missing. */
  readonly dir: string
  /** Limit of all files together in bytes; beyond this limit the oldest file is removed. */
  readonly limitBytes: number
  /** Milliseconds since the epoch. */
  readonly clock: MillisecondClock
  readonly incidents: IncidentReporter
  readonly log: Pick<SentenceLog, 'info'>
}

export function auditSettings(settings: Settings, dataDir: string) {
  return { dir: auditDir(dataDir), limitBytes: settings['audit.limit'] } satisfies Partial<AuditLogOptions>
}

/** Most events that wait in memory while the disk refuses writes; more are counted as lost. */
const maxWaiting = 2_000

/** Most lines written at once. */
const batchLines = 500

const maxFileBytes = 8e6

/** Time from a failed write to the next try, and from a write to the sync, in milliseconds. */
const retryMs = 1_000
const syncMs = 1_000

/** Most files kept, however small they are. */
const maxFiles = 1_000

const { O_RDWR, O_CREAT, O_NOFOLLOW } = constants

interface LinePlace {
  readonly event: AuditEvent
  readonly at: number
}

/**
 * Writes the audit log, see audit-chain.ts. Nothing here throws, blocks or ends the hub: while the disk refuses writes,
 * events wait in memory up to a limit, and events beyond that limit are counted, in the metrics and later in the log.
 * An appended line survives kill -9 within milliseconds, and a power loss within a second or two.
 */
export class AuditLog implements Part, AuditSink {
  readonly name = 'audit log'
  readonly alarm: AlarmCheck = {
    name: 'audit',
    check: () => this.#failure && `the audit log cannot be written: ${this.#failure}; free space on the disk`,
  }
  readonly #options: AuditLogOptions
  readonly #rotateBytes: number
  readonly #waiting: LinePlace[] = []
  #file: FileHandle | undefined
  /** Path of the newest file; empty when the next line begins a file. */
  #path = ''
  #bytes = 0
  /** Number and hash of the last line in the file. */
  #last = 0
  #hash = noHash
  #work: Promise<void> | undefined
  #retryTimer: NodeJS.Timeout | undefined
  #syncTimer: NodeJS.Timeout | undefined
  #failure: string | undefined
  /** Events lost since the last line that records a loss. */
  #untold = 0
  #lost = 0
  #lines = 0
  #stopped = false

  constructor(options: AuditLogOptions) {
    this.#options = options
    this.#rotateBytes = Math.min(maxFileBytes, Math.ceil(options.limitBytes / 8))
  }

  /** The folder of the log. */
  get dir(): string {
    return this.#options.dir
  }

  /** Lines written since the start. */
  get lines(): number {
    return this.#lines
  }

  /** Events lost since the start. */
  get lost(): number {
    return this.#lost
  }

  /** Why the log cannot be written now. Undefined while writing works. */
  get failure(): string | undefined {
    return this.#failure
  }

  /** Finds the end of the chain. When the log cannot be read, that is reported, and the log goes on in a new file. */
  start(): void {
    const { dir, incidents, log } = this.#options
    try {
      mkdirSync(dir, { recursive: true, mode: 0o700 })
      this.#resume()
      if (this.#last > 0) log.info(`audit log: continues after line ${this.#last}, whose hash is ${this.#hash}`)
    } catch (error) {
      incidents.report('audit_unreadable', `the audit log in ${dir} cannot be read: ${describe(error)}`)
    }
  }

  /** Writes the events that wait, if the disk accepts them. */
  async stop(): Promise<void> {
    this.#stopped = true
    clearTimeout(this.#retryTimer)
    clearTimeout(this.#syncTimer)
    await this.#work
    if (this.#waiting.length > 0) await this.#write()
    await this.#file?.datasync().catch(() => {})
    await this.#file?.close().catch(() => {})
    this.#file = undefined
  }

  append(event: AuditEvent): void {
    if (this.#waiting.length >= maxWaiting) {
      this.#lost++
      this.#untold++
      return
    }
    this.#waiting.push({ event, at: this.#options.clock.now() })
    this.#begin()
  }

  #begin(): void {
    if (this.#work || this.#retryTimer || this.#stopped) return
    this.#work = this.#write().finally(() => {
      this.#work = undefined
      if (this.#failure !== undefined && !this.#stopped) {
        this.#retryTimer = setTimeout(() => {
          this.#retryTimer = undefined
          this.#begin()
        }, retryMs).unref()
      } else if (this.#waiting.length > 0) this.#begin()
    })
  }

  /** Writes all events that wait, or sets the failure. Never rejects. */
  async #write(): Promise<void> {
    while (this.#waiting.length > 0) {
      const batch = this.#waiting.slice(0, batchLines)
      const untold = this.#untold
      const all = untold > 0 ? [{ event: lostEvent(untold), at: this.#options.clock.now() }, ...batch] : batch
      try {
        await this.#put(all)
      } catch (error) {
        this.#fail(error)
        return
      }
      this.#waiting.splice(0, batch.length)
      this.#untold -= untold
      this.#recover(untold)
    }
  }

  async #put(places: readonly LinePlace[]): Promise<void> {
    if (this.#path === '' || this.#bytes >= this.#rotateBytes) await this.#rotate()
    this.#file ??= await open(this.#path, O_RDWR | O_NOFOLLOW)
    const file = this.#file as FileHandle
    let last = this.#last
    let hash = this.#hash
    const lines = places.map(({ event, at }) => {
      const made = auditLine(++last, at, event, hash)
      hash = made.hash
      return `${made.line}\n`
    })
    const bytes = Buffer.from(lines.join(''))
    try {
      for (let done = 0; done < bytes.length; ) {
        const { bytesWritten } = await file.write(bytes, done, bytes.length - done, this.#bytes + done)
        done += bytesWritten
      }
    } catch (error) {
      // A part of a line would be damage. If that part cannot be cut off now, the next try overwrites it.
      await file.truncate(this.#bytes).catch(() => {})
      throw error
    }
    this.#bytes += bytes.length
    this.#last = last
    this.#hash = hash
    this.#lines += places.length
    this.#syncTimer ??= setTimeout(() => this.#sync(), syncMs).unref()
  }

  #sync(): void {
    this.#syncTimer = undefined
    this.#file?.datasync().catch((error: unknown) => this.#fail(error))
  }

  /** Begins a new file, and removes the oldest files when all together are over the limit. */
  async #rotate(): Promise<void> {
    const { dir, limitBytes } = this.#options
    const path = join(dir, auditFileName(this.#last + 1))
    const file = await open(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0o600)
    try {
      await file.chmod(0o600)
      await file.truncate(0)
    } catch (error) {
      await file.close().catch(() => {})
      throw error
    }
    const before = this.#file
    this.#file = file
    this.#path = path
    this.#bytes = 0
    await before?.datasync().catch(() => {})
    await before?.close().catch(() => {})
    await this.#removeOldest(dir, limitBytes - this.#rotateBytes)
  }

  async #removeOldest(dir: string, keptBytes: number): Promise<void> {
    const files = auditFiles(dir)
    const sizes = await Promise.all(files.map(({ path }) => stat(path).then(({ size }) => size)))
    let total = sizes.reduce((sum, size) => sum + size, 0)
    for (const [i, { path }] of files.entries()) {
      if (path === this.#path || (total <= keptBytes && files.length - i <= maxFiles)) return
      await rm(path, { force: true })
      total -= sizes[i] ?? 0
    }
  }

  #fail(error: unknown): void {
    const { dir, incidents } = this.#options
    if (this.#failure === undefined) {
      incidents.report(
        'audit_unwritable',
        `the audit log in ${dir} cannot be written (${describe(error)}): events wait in memory, and beyond ${maxWaiting} they are only counted; free space on the disk, and the log continues by itself`,
      )
    }
    this.#failure = describe(error)
  }

  #recover(lost: number): void {
    const { incidents } = this.#options
    this.#failure = undefined
    if (lost > 0) incidents.report('audit_lost', `the audit log continues; ${lost} events are missing`)
  }

  /** Finds the newest file that has a line, and cuts off an unfinished line at the end of that file. */
  #resume(): void {
    const { dir } = this.#options
    const files = auditFiles(dir)
    for (const { path, first } of files.toReversed()) {
      const fd = openSync(path, O_RDWR | O_NOFOLLOW)
      try {
        const { size } = fstatSync(fd)
        // The hub writes no longer files; of a longer one the end is enough.
        const from = Math.max(0, size - 2 * maxFileBytes)
        const bytes = Buffer.alloc(size - from)
        let read = 0
        for (let got = 1; got > 0 && read < bytes.length; read += got)
          got = readSync(fd, bytes, read, bytes.length - read, from + read)
        const end = bytes.lastIndexOf(10, read - 1) + 1
        if (end === 0) continue
        const lines = bytes.toString('utf8', 0, end - 1).split('\n')
        const line = lines.at(-1) ?? ''
        const parsed = parseAuditLine(line)
        this.#last = parsed?.n ?? first + lines.length - 1
        this.#hash = auditHash(line)
        this.#path = path
        this.#bytes = from + end
        if (from + end < size) {
          ftruncateSync(fd, from + end)
          this.append({ event: 'audit', result: 'cut', detail: `${size - from - end} bytes of an unfinished line` })
        }
        if (!parsed) this.append({ event: 'audit', result: 'damaged', detail: `the line before this one in ${path}` })
        return
      } finally {
        closeSync(fd)
      }
    }
  }
}

function lostEvent(count: number): AuditEvent {
  return { event: 'audit', result: 'lost', count, detail: 'events that could not be written' }
}
