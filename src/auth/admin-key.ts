import { chmodSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Part } from '../lifecycle.js'
import { makeSecret } from './passwords.js'

export const adminKeyPath = (dir: string) => join(dir, 'admin.key')

/**
 * A key for the commands that ask a running hub: whoever may read the files of the hub may do as an admin does. It is
 * another one after each start.
 */
export class AdminKey implements Part {
  readonly name = 'admin key'
  readonly key = `tha_${makeSecret()}`
  readonly #path: string

  constructor(dir: string) {
    this.#path = adminKeyPath(dir)
  }

  start(): void {
    const path = `${this.#path}.new`
    writeFileSync(path, '', { mode: 0o600 })
    // A file that was there keeps its mode.
    chmodSync(path, 0o600)
    writeFileSync(path, `${this.key}\n`)
    renameSync(path, this.#path)
  }

  stop(): void {}
}
