import { execFileSync } from 'node:child_process'
import { rmSync, statfsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { systemCode } from '../../src/errors.js'
import { tempDir } from './service.js'

export interface SmallDisk {
  readonly dir: string
  /** Fills it but for so many bytes; again, when somebody has made room. */
  fill(leave: number): void
  /** Takes away what filled it. */
  free(): void
}

/** A file system in memory of so many bytes, gone when the test ends; undefined where we may not mount one. */
export async function smallDisk(
  t: { teardown(end: () => unknown): void },
  bytes: number,
): Promise<SmallDisk | undefined> {
  const dir = await tempDir()
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes},mode=0700`, 'telehub-test', dir], { stdio: 'ignore' })
  } catch {
    return undefined
  }
  // Lazily: a process that is about to end may still have a file open.
  t.teardown(() => execFileSync('umount', ['-l', dir]))
  const ballast = join(dir, 'ballast')
  return {
    dir,
    fill: leave => {
      const { bavail, bsize } = statfsSync(dir)
      try {
        writeFileSync(ballast, Buffer.alloc(Math.max(0, bavail * bsize - leave), 1), { flag: 'a' })
      } catch (error) {
        // Somebody wrote meanwhile, and it is full now.
        if (systemCode(error) !== 'ENOSPC') throw error
      }
    },
    free: () => rmSync(ballast, { force: true }),
  }
}
