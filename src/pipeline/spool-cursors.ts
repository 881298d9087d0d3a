import { join } from 'node:path'
import type { BalanceSheet } from '../accounting/balance-sheet.js'
import type { Settings } from '../config/settings.js'
import type { Outlets } from '../outlets/outlets.js'
import { machineClock } from '../runtime/time.js'
import { Cursors } from '../spool/cursors.js'
import type { SpoolPosition } from '../spool/spool.js'
import type { BrokerLink } from './broker-link.js'
import { busCursor } from './cluster-parts.js'
import type { Registry } from './registry.js'
import type { SpoolProgress } from './spool-progress.js'

interface ReadingSide {
  readonly dir: string
  readonly position: SpoolPosition
  readonly progress: SpoolProgress
  readonly registry: Registry
  readonly balance: BalanceSheet
  readonly broker: BrokerLink
  readonly outlets: Pick<Outlets, 'groups' | 'passed'>
  /** Returns the sequence number from which the store may ask for messages again. */
  readonly needed: () => number
}

/**
 * Makes the cursors of the spool. What the balance sheet and the registry have not saved yet stays readable, and
 * messages that will not come are accounted for.
 */
export function cursorsOf(
  settings: Settings,
  { dir, position, progress, registry, balance, broker, outlets, needed }: ReadingSide,
): Cursors {
  return new Cursors({
    dir: join(dir, 'spool'),
    groups: ['live', progress.drain, ...(settings['cluster.name'] ? [busCursor] : []), ...outlets.groups.all],
    // The first start in a cluster: what was before concerns this hub alone.
    inherit: { bridge: 'record', record: 'bridge', [busCursor]: 'live' },
    atEnd: outlets.groups.atEnd,
    position,
    keepMs: settings['spool.keep'],
    keepBytes: settings['spool.keepBytes'],
    limitBytes: settings['spool.limit'],
    archive: {
      dir: join(dir, 'archive'),
      keepMs: settings['spool.archive'],
      limitBytes: settings['spool.archiveBytes'],
    },
    pinned: () => Math.min(balance.saved, registry.saved, needed()),
    rate: settings['spool.rate'],
    clock: machineClock,
    skipped: async (group, from, to, damaged) => {
      if (group !== progress.drain) return outlets.passed(group, to, damaged)
      if (!damaged) return balance.never(from, to)
      const messages = await balance.gone(from, to)
      if (messages === 0) return
      const sentence = `the spool: messages ${from} to ${to} are lost: their segment is damaged or was removed`
      broker.report('spool_lost', sentence, { messages })
    },
    freed: bytes => broker.freed(bytes),
    log: broker,
    incidents: broker,
  })
}
