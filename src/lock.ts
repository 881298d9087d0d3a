import { closeSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { connect, createServer, type Server } from 'node:net'
import { dirname, join, relative } from 'node:path'
import { describe, HubError, systemCode } from './errors.js'

/** Socket paths end at 107 bytes on Linux, 103 on macOS. */
const longestPath = 100

/**
 * Keeps a second hub out of a data directory, by a Unix socket in it: the kernel closes it however the hub ends, so a
 * kill -9 leaves nothing that would have to be judged by age or process id, also not across containers.
 */
export class DataDirLock {
  readonly name = 'data directory'
  readonly #dir: string
  readonly #path: string
  #server: Server | undefined
  #dirFd: number | undefined

  constructor(dir: string) {
    this.#dir = dir
    this.#path = join(dir, 'lock')
  }

  async start(): Promise<void> {
    try {
      await makeDirectory(this.#dir)
      const probe = join(this.#dir, '.writable')
      writeFileSync(probe, '')
      rmSync(probe)
    } catch (error) {
      throw new HubError('data_dir_unusable', `data.dir: cannot write to ${this.#dir}: ${describe(error)}`, {
        cause: error,
      })
    }
    const address = this.#address()
    for (let attempt = 0; attempt < 3; attempt++) {
      try {
        this.#server = await listen(address)
        writeFileSync(join(this.#dir, 'pid'), `${process.pid}\n`)
        return
      } catch (error) {
        if (systemCode(error) !== 'EADDRINUSE') {
          throw new HubError('data_dir_unusable', `data.dir: cannot lock ${this.#dir}: ${describe(error)}`, {
            cause: error,
          })
        }
        if (await answers(address)) {
          throw new HubError(
            'data_dir_locked',
            `data.dir: ${this.#dir} is in use by another hub (process ${this.#holder()}); stop it, or choose another with --data.dir`,
          )
        }
        // Nobody listens: its hub was killed.
        rmSync(this.#path, { force: true })
      }
    }
    throw new HubError('data_dir_locked', `data.dir: could not lock ${this.#dir}; another hub is starting there`)
  }

  async stop(): Promise<void> {
    await new Promise<void>(resolve => (this.#server ? this.#server.close(() => resolve()) : resolve()))
    if (this.#dirFd !== undefined) closeSync(this.#dirFd)
  }

  /** A way to say the path that is short enough for a socket. */
  #address(): string {
    if (Buffer.byteLength(this.#path) <= longestPath) return this.#path
    const short = relative(process.cwd(), this.#path)
    if (Buffer.byteLength(short) <= longestPath) return short
    this.#dirFd = openSync(this.#dir, 'r')
    return `/proc/self/fd/${this.#dirFd}/lock`
  }

  #holder(): string {
    try {
      return readFileSync(join(this.#dir, 'pid'), 'utf8').trim()
    } catch {
      return 'unknown'
    }
  }
}

/** What is in it is the hub's alone. One that is there keeps the mode that somebody has given it, as do those above it. */
async function makeDirectory(dir: string): Promise<void> {
  try {
    await mkdir(dir, { mode: 0o700 })
  } catch (error) {
    if (systemCode(error) === 'EEXIST') return
    if (systemCode(error) !== 'ENOENT') throw error
    await mkdir(dirname(dir), { recursive: true })
    await mkdir(dir, { recursive: true, mode: 0o700 })
  }
}

function listen(address: string): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer(socket => socket.destroy())
    server.once('error', reject)
    server.listen(address, () => resolve(server.unref()))
  })
}

function answers(address: string): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect(address)
    socket.once('connect', () => resolve(true))
    socket.once('error', () => resolve(false))
    socket.once('close', () => resolve(false))
  })
}
