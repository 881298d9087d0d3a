import { randomBytes } from 'node:crypto'
import { chmodSync, closeSync, linkSync, mkdirSync, openSync, type Stats, statSync } from 'node:fs'
import { connect, createServer, type Server } from 'node:net'
import { join, relative } from 'node:path'
import { describe, HubError, systemCode } from '../errors.js'
import type { SentenceLog } from '../observe/log.js'
import { nodeFiles, readWholeSync } from './files.js'
import { openFormats } from './formats.js'
import { replaceFileSync } from './replace-file.js'
import { isDiskError } from './retried-write.js'

/*
 * Keeps a second hub out of a data directory, by a Unix socket in that directory. The kernel closes the socket however
 * the hub ends, so a kill -9 leaves nothing that would have to be judged by age or process id, also not across
 * containers.
 *
 *     data.dir/lock.0000000007         the socket of the hub that runs, or of one that was killed
 *              lock.new-4711-3f9a2b    a hub that is starting: listens already, and is not the holder yet
 *
 * The highest number counts. A socket that refuses connections is dead for ever, and only then may the next number be
 * taken. That is done by a hard link, which fails when the name exists, so only one of the hubs that found the same
 * dead socket succeeds. Nothing is ever removed to make room. Such a removal would let two hubs in: the second would
 * remove the socket of the first.
 *
 * Old numbers are removed by later holders. A starting hub that was asleep meanwhile may then take such an old number
 * again. That hub looks a second time, finds the higher number, and withdraws. A holder that stops removes its name
 * while still listening, so that the name is never seen dead.
 */

const namePattern = /^lock\.(\d{10})$/
const startingPattern = /^lock\.new-/

/**
 * Dead sockets that are not removed: a directory listing that runs while names come and go must not miss all of them.
 */
const deadKept = 2

/** Longest socket path used, in bytes. The limit is 107 on Linux and 103 on macOS. */
const maxPath = 100

const againMs = 1_000

export interface DataDirLockOptions {
  readonly dir: string
  /** Version of telehub, for the formats of the files. Without one they are not looked at. */
  readonly version?: string
  readonly log: Pick<SentenceLog, 'warn'>
}

export class DataDirLock {
  readonly name = 'data directory'
  #lose: (error: Error) => void = () => {}
  /** Resolves when another hub got the lock while the disk refused the lock to this hub, which must now stop. */
  readonly lost = new Promise<Error>(resolve => {
    this.#lose = resolve
  })
  readonly #options: DataDirLockOptions
  readonly #dir: string
  #server: Server | undefined
  /** Socket without a file, used while the disk takes no file. */
  #standIn: Server | undefined
  #number = 0
  #held = false
  #dirFd: number | undefined
  #timer: NodeJS.Timeout | undefined
  #trying: Promise<void> = Promise.resolve()

  constructor(options: DataDirLockOptions) {
    this.#options = options
    this.#dir = options.dir
  }

  /**
   * Makes the directory (0700) if need be, and takes the lock. Rejects with `data_dir_locked` when another hub is in
   * the directory. Rejects with `data_dir_unusable` when other users may write to the directory, or when the hub's user
   * may not, or when a newer telehub has written in the directory. A disk that is full, read-only or broken is no reason
   * to reject: the lock is tried again every second, and until it is held nothing may be written.
   */
  async start(): Promise<void> {
    await this.#start()
    const { version } = this.#options
    try {
      if (version !== undefined) openFormats(this.#dir, version, this.#held)
    } catch (error) {
      await this.stop()
      throw error
    }
  }

  async #start(): Promise<void> {
    try {
      makeDirectory(this.#dir)
      this.#tighten(statSync(this.#dir))
    } catch (error) {
      if (error instanceof HubError) throw error
      throw unusable(`cannot use ${this.#dir}: ${describe(error)}`, error)
    }
    try {
      await this.#acquire()
    } catch (error) {
      if (error instanceof HubError) throw error
      if (!isDiskError(error)) throw unusable(`cannot lock ${this.#dir}: ${describe(error)}`, error)
      await this.#standBy(error)
    }
  }

  async stop(): Promise<void> {
    clearTimeout(this.#timer)
    await this.#trying
    await this.#letGo()
    await closed(this.#standIn)
    if (this.#dirFd !== undefined) closeSync(this.#dirFd)
  }

  /** Whether the lock is held. False while the disk refuses the lock: then nothing may be written to the directory. */
  get held(): boolean {
    return this.#held
  }

  /** Resolves when the lock is held. Rejects with `data_dir_locked`, or with an error of the file system. */
  async #acquire(): Promise<void> {
    for (let attempt = 0; attempt < 20; attempt++) {
      const highest = this.#numbers().at(-1) ?? 0
      if (highest > 0) {
        const state = await stateOf(this.#address(nameOf(highest)))
        if (state === 'alive') throw this.#locked()
        if (state === 'gone') continue
      }
      const own = `lock.new-${process.pid}-${randomBytes(4).toString('hex')}`
      const server = await listen(this.#address(own))
      try {
        if (this.#take(own, highest + 1)) {
          this.#server = server
          this.#number = highest + 1
          this.#held = true
          this.#tidy()
          return
        }
      } catch (error) {
        await closed(server)
        throw error
      }
      await closed(server)
    }
    throw new HubError('data_dir_locked', `data.dir: could not lock ${this.#dir}, as other hubs are starting on it`)
  }

  /** Links the socket `own` to the name with `number`. Returns false when another hub was quicker. */
  #take(own: string, number: number): boolean {
    const path = join(this.#dir, nameOf(number))
    try {
      linkSync(join(this.#dir, own), path)
    } catch (error) {
      // ENOENT: the holder has removed the name of this starting hub.
      if (systemCode(error) === 'EEXIST' || systemCode(error) === 'ENOENT') return false
      throw error
    } finally {
      nodeFiles.removeSync(join(this.#dir, own))
    }
    if (this.#numbers().at(-1) === number) return true
    nodeFiles.removeSync(path)
    return false
  }

  /** Returns the numbers of all lock sockets, ascending. */
  #numbers(): number[] {
    return nodeFiles
      .listSync(this.#dir)
      .flatMap(name => namePattern.exec(name)?.[1] ?? [])
      .map(Number)
      .sort((a, b) => a - b)
  }

  /** Removes old sockets, and those of hubs that were killed while starting. */
  #tidy(): void {
    try {
      replaceFileSync(join(this.#dir, 'pid'), `${process.pid}\n`)
      for (const name of nodeFiles.listSync(this.#dir)) {
        const number = Number(namePattern.exec(name)?.[1] ?? Number.POSITIVE_INFINITY)
        const isOld = number < this.#number - deadKept
        if (isOld || startingPattern.test(name)) nodeFiles.removeSync(join(this.#dir, name))
      }
    } catch {
      // The lock is held even so, and the next holder removes these files.
    }
  }

  async #letGo(): Promise<void> {
    const server = this.#server
    this.#server = undefined
    if (!server) return
    this.#held = false
    try {
      nodeFiles.removeSync(join(this.#dir, nameOf(this.#number)))
    } catch {
      // The disk is read-only by now. The next hub finds a dead socket.
    }
    await closed(server)
  }

  /**
   * Locks the directory without a file, as the disk takes no socket. Linux has names for sockets without a file; those
   * are local to this machine, or container.
   */
  async #standBy(cause: unknown): Promise<void> {
    if (process.platform === 'linux') {
      const { dev, ino } = statSync(this.#dir)
      try {
        this.#standIn = await listen(`\0telehub-data-dir-${dev}-${ino}`)
      } catch (error) {
        if (systemCode(error) === 'EADDRINUSE') throw this.#locked()
        throw unusable(`cannot lock ${this.#dir}: ${describe(error)}`, error)
      }
    }
    this.#options.log.warn(
      `data.dir: ${this.#dir} cannot be locked (${describe(cause)}); publishes are refused until it is locked`,
    )
    this.#again()
  }

  #again(): void {
    this.#timer = setTimeout(() => {
      this.#trying = this.#acquire().then(
        () => this.#options.log.warn(`data.dir: ${this.#dir} is locked now`),
        error => {
          if (error instanceof HubError) this.#lose(error)
          else this.#again()
        },
      )
    }, againMs).unref()
  }

  /** Closes the directory to other users: all files are for the hub alone, whatever their modes. */
  #tighten({ mode, uid }: Stats): void {
    if (process.platform === 'win32') return
    const given = (mode & 0o777).toString(8)
    if ((mode & 0o022) !== 0) {
      throw unusable(
        `${this.#dir} may be written by other users (mode ${given}), who could replace the files of the hub; chmod 700 it, or choose another with --data.dir`,
      )
    }
    if ((mode & 0o077) === 0) return
    const own = process.geteuid?.()
    try {
      if (uid === own || own === 0) chmodSync(this.#dir, 0o700)
      else throw new Error(`it belongs to user ${uid}`)
    } catch (error) {
      this.#options.log.warn(
        `data.dir: ${this.#dir} may be listed by other users (mode ${given}), and this could not be changed: ${describe(error)}`,
      )
    }
  }

  /** Returns an address of the socket that is short enough for the system. */
  #address(name: string): string {
    const path = join(this.#dir, name)
    if (Buffer.byteLength(path) <= maxPath) return path
    const short = relative(process.cwd(), path)
    if (Buffer.byteLength(short) <= maxPath) return short
    this.#dirFd ??= openSync(this.#dir, 'r')
    return `/proc/self/fd/${this.#dirFd}/${name}`
  }

  #locked(): HubError {
    let holder = 'unknown'
    try {
      holder = readWholeSync(join(this.#dir, 'pid'))?.toString('utf8').trim() || holder
    } catch {
      // The process id is only a hint in the error.
    }
    return new HubError(
      'data_dir_locked',
      `data.dir: ${this.#dir} is in use by another hub (process ${holder}); stop it, or choose another with --data.dir`,
    )
  }
}

function nameOf(number: number): string {
  return `lock.${String(number).padStart(10, '0')}`
}

function unusable(sentence: string, cause?: unknown): HubError {
  return new HubError('data_dir_unusable', `data.dir: ${sentence}`, { cause })
}

/** Makes the directory and any missing parents, for the hub's user alone. */
function makeDirectory(dir: string): void {
  try {
    mkdirSync(dir, { mode: 0o700 })
  } catch (error) {
    if (systemCode(error) === 'EEXIST' || isDirectory(dir)) return
    if (systemCode(error) !== 'ENOENT') throw error
    mkdirSync(dir, { recursive: true, mode: 0o700 })
  }
}

/** Whether the directory exists. On a read-only disk mkdir fails for an existing directory too. */
function isDirectory(dir: string): boolean {
  return statSync(dir, { throwIfNoEntry: false })?.isDirectory() ?? false
}

function listen(address: string): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer(socket => socket.destroy())
    server.once('error', reject)
    server.listen(address, () => {
      server.on('error', () => {})
      resolve(server.unref())
    })
  })
}

function closed(server: Server | undefined): Promise<void> {
  return new Promise(resolve => (server ? server.close(() => resolve()) : resolve()))
}

/**
 * Returns the state of the hub behind a socket. Any error but a refusal counts as a living hub: running no hub is
 * better than running two.
 */
function stateOf(address: string): Promise<'alive' | 'dead' | 'gone'> {
  return new Promise(resolve => {
    const socket = connect(address)
    socket.once('connect', () => {
      resolve('alive')
      socket.destroy()
    })
    socket.once('error', error => {
      const code = systemCode(error)
      resolve(code === 'ECONNREFUSED' ? 'dead' : code === 'ENOENT' ? 'gone' : 'alive')
    })
  })
}
