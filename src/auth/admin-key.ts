import { join } from 'node:path'
import { replaceFileSync } from '../disk/replace-file.js'
import { RetriedWrite } from '../disk/retried-write.js'
import type { SentenceLog } from '../observe/log.js'
import { makeSecret } from '../passwords/passwords.js'
import type { Part } from '../runtime/lifecycle.js'

export const adminKeyPath = (dir: string) => join(dir, 'admin.key')

/**
 * Key for the commands that query a running hub. A caller that may read the files of the hub has the rights of an
 * admin. The key changes at each start.
 */
export class AdminKey implements Part {
  readonly name = 'admin key'
  readonly key = `tha_${makeSecret()}`
  readonly #file: RetriedWrite

  constructor(dir: string, log: Pick<SentenceLog, 'warn'> = { warn: () => {} }) {
    const path = adminKeyPath(dir)
    this.#file = new RetriedWrite({ what: path, write: () => replaceFileSync(path, `${this.key}\n`), log })
  }

  start(): void {
    this.#file.start()
  }

  stop(): void {
    this.#file.stop()
  }
}
