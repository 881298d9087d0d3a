import type { Settings } from '../config/config.js'
import { describe, systemCode } from '../errors.js'

/** `fine`: as it should be. `warning`: works, and may hurt later. `problem`: something is lost, refused or open to others. */
export type Level = 'fine' | 'warning' | 'problem'

/** What one check has seen. */
export interface Finding {
  /** Which check this is, in a word or two: `disk sync`. */
  readonly check: string
  readonly level: Level
  /** What was seen. A sentence without its full stop. */
  readonly seen: string
  /** What to do, a sentence; empty when nothing has to be done. */
  readonly advice: string
  /** Only where doing it is safe, whatever the state of the hub. */
  readonly repair?: Repair
}

export interface Repair {
  /** What is done, for people: `chmod 600 data/hub.json`. */
  readonly does: string
  /** Throws what the system says when it cannot be done. */
  run(): void
}

/** The hub that uses the data directory. */
export interface RunningHub {
  /** 0 when it is not known, as in another container. */
  readonly pid: number
}

/** What the checks are given. */
export interface Examined {
  readonly settings: Settings
  /** The data directory, as an absolute path. */
  readonly dir: string
  /** False when there is no data directory yet: the hub makes it when it starts. */
  readonly hasDir: boolean
  /** Undefined when no hub uses the data directory. */
  readonly hub: RunningHub | undefined
  /** Milliseconds since the epoch. */
  readonly now: () => number
  /** Address of the hub's HTTP API, and the key to show it. */
  readonly url: string
  readonly key: string | undefined
  /** Address of RabbitMQ's management API; empty: the host of `rabbitmq.url`, port 15672. */
  readonly management: string
}

/** Reads and never changes what it looks at. */
export type Check = (examined: Examined) => readonly Finding[] | Promise<readonly Finding[]>

export const fine = (check: string, seen: string): Finding => ({ check, level: 'fine', seen, advice: '' })

export const warning = (check: string, seen: string, advice: string, repair?: Repair): Finding => ({
  check,
  level: 'warning',
  seen,
  advice,
  ...(repair && { repair }),
})

export const problem = (check: string, seen: string, advice: string, repair?: Repair): Finding => ({
  check,
  level: 'problem',
  seen,
  advice,
  ...(repair && { repair }),
})

/** What kept a check from reading a file, and what to do about that. */
export function unreadable(check: string, path: string, error: unknown): Finding {
  const isForbidden = systemCode(error) === 'EACCES' || systemCode(error) === 'EPERM'
  return isForbidden
    ? warning(check, `${path} may not be read by this user`, 'Run telehub doctor as the user of the hub.')
    : problem(
        check,
        `${path} cannot be read: ${describe(error)}`,
        'Look for errors of this disk in the system log (dmesg).',
      )
}
