import { statfs } from 'node:fs/promises'
import type { Settings } from '../config/settings.js'
import { describe } from '../errors.js'
import type { AlarmCheck } from '../observe/alarms.js'
import type { Spool } from './spool.js'

/** Free bytes that are enough however large the spool may become. */
const enoughBytes = 1e9

/** Returns the alarms of a spool in `dir`, by the settings in effect. */
export function spoolAlarms(spool: Spool, dir: string, live: { readonly current: Settings }): readonly AlarmCheck[] {
  return [
    {
      name: 'full',
      check: () =>
        spool.full
          ? 'the spool is full: publishes are refused until there is room, and devices keep their messages'
          : undefined,
    },
    {
      name: 'spool',
      check: () => {
        const percent = Math.floor(spool.fill * 100)
        if (percent < live.current['spool.alarm']) return undefined
        return `the spool is ${percent} % full (spool.limit); at 100 % publishes are refused, and devices keep their messages`
      },
    },
    {
      name: 'disk',
      check: async () => {
        if (spool.failing)
          return `the disk does not accept writes (${describe(spool.failing)}): publishes are refused, and devices send them again`
        const { bavail, bsize } = await statfs(dir)
        const free = bavail * bsize
        if (free >= Math.min(enoughBytes, live.current['spool.limit'] - spool.bytes)) return undefined
        return `the disk of data.dir has ${Math.round(free / 1e6)} MB free, less than the spool may still use (spool.limit)`
      },
    },
  ]
}
