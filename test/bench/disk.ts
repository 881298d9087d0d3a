import { open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { tempDir } from '../services/service.js'

/** The time that one write with fdatasync takes, in milliseconds. */
export interface SyncTimes {
  readonly p50: number
  readonly p99: number
}

/** Bytes of one write: as many as a small group of messages has. */
const writtenBytes = 500

/** Writes and syncs for some seconds, with a pause behind each sync, at the end of a file as the spool does. */
export async function syncTimes(seconds: number, pauseMs = 2): Promise<SyncTimes> {
  const folder = await tempDir()
  const file = await open(join(folder, 'probe'), 'w')
  const times: number[] = []
  try {
    for (const end = performance.now() + seconds * 1_000; performance.now() < end; ) {
      const begin = performance.now()
      await file.write(Buffer.alloc(writtenBytes))
      await file.datasync()
      times.push(performance.now() - begin)
      if (pauseMs > 0) await sleep(pauseMs)
    }
  } finally {
    await file.close()
    await rm(folder, { recursive: true })
  }
  const sorted = times.sort((a, b) => a - b)
  const at = (part: number) => sorted[Math.floor(sorted.length * part)] ?? Infinity
  return { p50: at(0.5), p99: at(0.99) }
}

/** Returns how many messages a second group commit allows on this disk, when so many wait for each sync together. */
export async function groupCommitRate(together: number): Promise<number> {
  return (together * 1_000) / (await syncTimes(1, 0)).p50
}
