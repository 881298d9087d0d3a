import { readFileSync } from 'node:fs'
import type { KeepTimes } from '../../config/settings.js'
import { replaceFile } from '../../disk/replace-file.js'
import { HubError } from '../../errors.js'
import type { SentenceLog } from '../../observe/log.js'
import type { DefaultPolicy, RetentionPolicies } from '../../store/store.js'

export interface InfluxExpiryOptions {
  readonly policies: RetentionPolicies
  readonly keep: KeepTimes
  /** Whether a duration that somebody else has set may be changed. */
  readonly alters: boolean
  /** File that holds which policy the hub has set, to which time. */
  readonly path: string
  readonly log: SentenceLog
}

const graceUs = 3_600_000_000

/** The time that the hub has set, and a shorter one that waits. Times in milliseconds, waiting since microseconds. */
interface Memory {
  readonly policy?: string
  readonly keptMs?: number
  readonly wanted?: number
  readonly since?: number
}

/**
 * Keeps the default policy of an InfluxDB as `store.keep` says for raw readings. A policy that somebody has made by hand
 * is left alone, unless the settings allow a change. A shorter time acts after an hour.
 */
export class InfluxExpiry {
  readonly #options: InfluxExpiryOptions
  #memory: Memory
  /** Why the policy is not as the settings say. */
  alarm: string | undefined

  constructor(options: InfluxExpiryOptions) {
    this.#options = options
    this.#memory = remembered(options.path)
  }

  /** @param now Trusted time, in microseconds since the epoch. */
  async pass(now: number): Promise<void> {
    const { policies, keep, alters, log } = this.#options
    this.alarm = undefined
    const isOwn = this.#memory.keptMs !== undefined
    // Without the setting the hub only takes back what the hub has set.
    if (keep.raw === undefined && !isOwn) return
    const wanted = keep.raw ?? Number.POSITIVE_INFINITY
    let found: DefaultPolicy | undefined
    try {
      found = await policies.usual()
    } catch (error) {
      if (!(error instanceof HubError) || error.code !== 'bad_request') throw error
      this.alarm = `store.keep keeps raw readings for ${text(wanted)}: ${error.message}`
    }
    if (!found) return
    const { name, keptMs } = found
    if (keptMs === wanted) {
      // A crash came between the change and the note.
      if (this.#memory.wanted === wanted) await this.#remember({ policy: name, keptMs: wanted })
      return
    }
    const isFree =
      keptMs === Number.POSITIVE_INFINITY || (this.#memory.policy === name && this.#memory.keptMs === keptMs)
    if (!isFree && !alters) {
      this.alarm =
        `store.keep keeps raw readings for ${text(wanted)}, but the retention policy ${name} of InfluxDB keeps them for ` +
        `${text(keptMs)}, which the hub has not set: change the policy, or set influx.retention to alter`
      return
    }
    if (wanted < keptMs) {
      if (this.#memory.wanted !== wanted) {
        await this.#remember({ ...this.#memory, wanted, since: now })
        log.warn(
          `in an hour InfluxDB deletes what is older than ${text(wanted)} (store.keep), as its retention policy ${name} is ` +
            'changed then; change the setting before, to keep that',
        )
      }
      if (now < (this.#memory.since ?? now) + graceUs) return
    }
    if (this.#memory.wanted !== wanted) await this.#remember({ ...this.#memory, wanted })
    await policies.alter(name, wanted)
    await this.#remember({ policy: name, keptMs: wanted })
    log.info(
      `the retention policy ${name} of InfluxDB keeps readings for ${text(wanted)} now (before: ${text(keptMs)})`,
    )
  }

  async #remember(memory: Memory): Promise<void> {
    const json = (_: string, value: unknown) => (value === Number.POSITIVE_INFINITY ? 'forever' : value)
    await replaceFile(this.#options.path, `${JSON.stringify(memory, json)}\n`)
    this.#memory = memory
  }
}

function remembered(path: string): Memory {
  try {
    return JSON.parse(readFileSync(path, 'utf8'), (_, value) =>
      value === 'forever' ? Number.POSITIVE_INFINITY : value,
    ) as Memory
  } catch {
    return {}
  }
}

function text(ms: number): string {
  if (ms === Number.POSITIVE_INFINITY) return 'ever'
  return ms % 864e5 === 0 ? `${ms / 864e5} d` : `${ms / 36e5} h`
}
