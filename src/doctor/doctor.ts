import { accessSync, constants, lstatSync } from 'node:fs'
import { resolve } from 'node:path'
import type { Settings } from '../config/settings.js'
import { describe, HubError, systemCode } from '../errors.js'
import { escaped, plain } from '../observe/log.js'
import { many } from '../runtime/terminal.js'
import type { MillisecondClock } from '../runtime/time.js'
import { certificates } from './certificates.js'
import { deadLetters } from './dead-letters.js'
import { disk } from './disk.js'
import { type Check, type Examined, type Finding, fine, problem } from './finding.js'
import { inlets } from './inlets.js'
import { kafka } from './kafka.js'
import { machine } from './machine.js'
import { outlets } from './outlets.js'
import { rabbitmq } from './rabbitmq.js'
import { rights } from './rights.js'
import { findHub, running } from './running.js'
import { state } from './state.js'
import { store } from './store.js'
import { users } from './users.js'

/*
 * `telehub doctor`: checks everything a hub depends on, whether the hub runs or not, and reports each fault with a
 * remedy. Checks only read. With --repair, safe repairs are made: rights are narrowed, files without content removed.
 */

/** Flags and environment of one call of the command. */
export interface DoctorCall {
  /** Loads the settings; `strictly` with all demands of a hub that starts. Throws all faults as one `HubError`. */
  load(strictly: boolean): Settings
  /** Returns the URL of the hub of these settings, and the key to send. */
  hubAt(settings: Settings): { readonly url: string; readonly key: string | undefined }
}

export interface TextOutput {
  out(text: string): void
}

export interface DoctorOptions {
  readonly call: DoctorCall
  readonly management: string
  readonly repair: boolean
  readonly json: boolean
  /** Gets the findings. */
  readonly output: TextOutput
  readonly clock: MillisecondClock
}

const checks: readonly (readonly [name: string, check: Check])[] = [
  ['hub', running],
  ['machine', machine],
  ['disk', disk],
  ['data files', rights],
  ['state', state],
  ['dead letters', deadLetters],
  ['store', store],
  ['RabbitMQ', rabbitmq],
  ['Kafka', kafka],
  ['outlets', outlets],
  ['inlets', inlets],
  ['certificates', certificates],
  ['users', users],
]

/** The checks that read and write in the data directory. */
const ofDirectory: readonly Check[] = [disk, rights, state, deadLetters, store]

/** Resolves with the exit code: 0 when there are no problems (there may be warnings), 1 when there are. */
export async function doctor(options: DoctorOptions): Promise<number> {
  const { json, output, repair } = options
  const findings: Finding[] = []
  const tell = (finding: Finding) => {
    findings.push(finding)
    if (!json) output.out(`${lineOf(finding)}\n`)
  }
  for await (const finding of examine(options)) {
    if (!repair || !finding.repair) {
      tell(finding)
      continue
    }
    try {
      finding.repair.run()
      tell(fine(finding.check, `repaired: ${finding.seen}: ${finding.repair.does}`))
    } catch (error) {
      tell({ ...finding, advice: `${finding.advice} It could not be repaired: ${describe(error)}.` })
    }
  }
  const problems = findings.filter(({ level }) => level === 'problem').length
  const warnings = findings.filter(({ level }) => level === 'warning').length
  if (json) {
    const shown = findings.map(({ check, level, seen, advice, repair: offered }) => ({
      check,
      level,
      seen,
      ...(advice && { advice }),
      ...(offered && { repair: offered.does }),
    }))
    output.out(`${escaped(JSON.stringify({ problems, warnings, findings: shown }, undefined, 2))}\n`)
  } else output.out(`\n${many(problems, 'problem')}, ${many(warnings, 'warning')}\n`)
  return problems > 0 ? 1 : 0
}

async function* examine(options: DoctorOptions): AsyncGenerator<Finding> {
  const { settings, faults } = loadOf(options)
  yield* faults
  if (!settings) return
  const dir = resolve(settings['data.dir'])
  const hasDir = lstatSync(dir, { throwIfNoEntry: false }) !== undefined
  const hub = hasDir ? await findHub(dir) : undefined
  const { url, key } = options.call.hubAt(settings)
  const { clock, management } = options
  const examined: Examined = { settings, dir, hasDir, hub, clock, url, key, management }
  const isOpen = !hasDir || mayUse(dir)
  if (!isOpen) {
    yield problem(
      'data files',
      `${dir} may not be read and written by this user, so what is in it was not looked at`,
      'Run telehub doctor as the user of the hub.',
    )
  }
  for (const [name, check] of checks) {
    if (!isOpen && ofDirectory.includes(check)) continue
    try {
      yield* await check(examined)
    } catch (error) {
      yield problem(
        name,
        `this could not be looked at: ${describe(error)}`,
        'Fix that first, then run telehub doctor again.',
      )
    }
  }
}

function mayUse(dir: string): boolean {
  try {
    accessSync(dir, constants.R_OK | constants.W_OK | constants.X_OK)
    return true
  } catch (error) {
    // A read-only disk is reported by the check of the disk.
    return systemCode(error) !== 'EACCES' && systemCode(error) !== 'EPERM'
  }
}

/** Loads the settings, as far as they can be read, even when a hub would not start with them. */
function loadOf({ call }: DoctorOptions): { readonly settings?: Settings; readonly faults: Finding[] } {
  const check = 'settings'
  try {
    return { settings: call.load(true), faults: [fine(check, 'in order')] }
  } catch (error) {
    // A wrong flag is a mistake of this call, not of the settings to check.
    if (!(error instanceof HubError) || /^--|\(--[\w.]+\)/m.test(error.message)) throw error
    const faults = error.message
      .split('\n')
      .map(fault => problem(check, fault, 'Fix the setting; the hub does not start.'))
    try {
      return { settings: call.load(false), faults }
    } catch {
      return { faults }
    }
  }
}

const signs = { fine: '✓', warning: '!', problem: '✗' } as const

/** Returns a finding as one line: text from files, devices and servers can neither end the line nor move the cursor. */
function lineOf({ level, check, seen, advice }: Finding): string {
  return plain(`${signs[level]} ${check}: ${seen}${advice && `. ${advice}`}`)
}
