import { join } from 'node:path'
import type { Settings } from '../config/settings.js'
import type { SpoolOptions } from './spool.js'

export function spoolSettings(settings: Settings, dir: string) {
  return {
    dir: join(dir, 'spool'),
    // The two newest segments are never deleted; a small limit needs room beside them.
    segmentBytes: Math.min(settings['spool.segment'], settings['spool.limit'] / 8),
    limitBytes: settings['spool.limit'],
    fsync: settings['spool.fsync'],
  } satisfies Partial<SpoolOptions>
}
