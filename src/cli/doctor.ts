import type { Settings } from '../config/settings.js'
import type { DoctorOptions } from '../doctor/doctor.js'
import { HubError } from '../errors.js'

export const doctorHelp = `  telehub doctor           look at disk, clock, ports, files, users, certificates, RabbitMQ, store and the hub, running or not, and
                           say what is wrong and what to do [--repair: do what is safe] [--json] [--management URL of RabbitMQ's
                           management API]; ends with 0 when nothing is wrong, 1 otherwise, 2 when it was called wrongly`

/** Flags of this command beside the settings and the flags of the other commands that call a hub. */
export const doctorFlags = {
  repair: { type: 'boolean' },
  management: { type: 'string' },
} as const

export interface DoctorCall extends Pick<DoctorOptions, 'hubAt' | 'out' | 'now'> {
  /** Words after the command. */
  readonly rest: readonly string[]
  readonly flags: Readonly<Record<string, string | boolean | undefined>>
  readonly load: (strictly: boolean) => Settings
}

/**
 * Resolves with the exit code. Rejects with a `HubError` of the code `bad_settings` when the command is called wrongly.
 */
export async function runDoctor({ rest, flags, load, ...others }: DoctorCall): Promise<number> {
  if (rest.length > 0) throw usage(`doctor takes no ${rest.join(' ')}`)
  const { json, repair, management = '' } = flags
  if (typeof management !== 'string' || (management !== '' && !/^https?:\/\/[^/]+/.test(management))) {
    throw usage(
      `--management: given ${JSON.stringify(management)}, allowed is an address such as http://127.0.0.1:15672`,
    )
  }
  // Loaded only when needed, as the drivers are loaded with this module.
  const { doctor } = await import('../doctor/doctor.js')
  return doctor({
    ...others,
    load,
    management: management.replace(/\/+$/, ''),
    repair: repair === true,
    json: json === true,
  })
}

function usage(sentence: string): HubError {
  return new HubError('bad_settings', `${sentence}; telehub --help shows the use`)
}
