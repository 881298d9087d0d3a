import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { tempDir } from '../services/service.js'
import type { Random } from './packets.js'
import { PowerFiles } from './power-files.js'

/** A directory on a disk that fails as its `percent` says. */
export async function disk(random: Random) {
  const root = await tempDir()
  const attic = join(root, 'attic')
  mkdirSync(attic)
  return { dir: join(root, 'data'), files: new PowerFiles(random, attic) }
}

/** How a process ends: in order, by SIGKILL, or by a loss of power. */
export async function end(random: Random, files: PowerFiles, stop: () => Promise<unknown>): Promise<void> {
  files.percent = files.readPercent = 0
  const how = random.below(3)
  if (how > 0) files.off()
  await stop().catch(() => {})
  files.on()
  if (how === 2) files.cut()
}

/** As a supervisor does: again until it starts. */
export async function started<T>(start: () => Promise<T>): Promise<T> {
  for (let tries = 0; ; tries++) {
    try {
      return await start()
    } catch (error) {
      if (tries === 200) throw error
    }
  }
}
