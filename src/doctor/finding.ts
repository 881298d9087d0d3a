import type { Settings } from '../config/settings.js'
import { describe, systemCode } from '../errors.js'
import type { MillisecondClock } from '../runtime/time.js'

/** `fine`: no fault. `warning`: works, and may hurt later. `problem`: something is lost, refused or open to others. */
export type Level = 'fine' | 'warning' | 'problem'

/** One result of a check. */
export interface Finding {
  /** Name of the check, in a word or two: `disk sync`. */
  readonly check: string
  readonly level: Level
  /** Observation, as a sentence without a full stop. */
  readonly seen: string
  /** Remedy, as a sentence; empty when nothing has to be done. */
  readonly advice: string
  /** Repair of the fault. Undefined unless the repair is safe in every state of the hub. */
  readonly repair?: Repair
}

export interface Repair {
  /** Description of the repair for people: `chmod 600 data/hub.json`. */
  readonly does: string
  /** Repairs the fault. Throws the error of the system when the repair fails. */
  run(): void
}

/** The hub that uses the data directory. */
export interface RunningHub {
  /** 0 when the process is not known, as in another container. */
  readonly pid: number
}

/** Input of the checks. */
export interface Examined {
  readonly settings: Settings
  /** The data directory, as an absolute path. */
  readonly dir: string
  /** False when there is no data directory yet: the hub creates one at the start. */
  readonly hasDir: boolean
  /** Undefined when no hub uses the data directory. */
  readonly hub: RunningHub | undefined
  readonly clock: MillisecondClock
  /** Address of the hub's HTTP API, and the key to send. */
  readonly url: string
  readonly key: string | undefined
  /** Address of RabbitMQ's management API; empty: the host of `rabbitmq.url`, port 15672. */
  readonly management: string
}

/** A check. Reads only, and never changes anything. */
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

/** Returns a finding for a file that a check could not read, with the cause and a remedy. */
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
