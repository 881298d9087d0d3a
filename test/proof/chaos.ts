import { randomInt } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Kill } from './report.js'

/** Somebody who can be killed. */
export interface Victim {
  readonly name: string
  /** SIGKILL; resolves when it is gone. */
  kill(): Promise<void>
  /** On the same port and data; resolves when it answers. */
  restart(): Promise<void>
  /** Not killed before; by `performance.now()`. */
  readonly notBefore?: number
}

export interface ChaosOptions {
  /** Killed in turn. */
  readonly victims: readonly Victim[]
  readonly kills: number
  /**
   * The messages are sent in one stretch more than there are kills, each over this time at most. In all but the last
   * somebody is killed: a third is sent before, a third at that moment, a third afterwards.
   */
  readonly stretchMs: number
  /** From 0 to 1. */
  readonly random: () => number
  /** The publishers may go up to this part of all messages, evenly over so many milliseconds. */
  readonly allow: (part: number, overMs: number) => void
  /** Resolves when everyone works again; with a sentence when that does not happen. */
  readonly recovered: () => Promise<string | undefined>
  readonly signal: AbortSignal
}

/** From a burst of messages to the kill, at most. */
const longestBurstMs = 15
/** From the kill to the restart, at most. */
const longestPauseMs = 2_000
/** From everyone's recovery to the next stretch, at most. */
const longestCalmMs = 1_000

/**
 * Kills at random moments while messages flow. The next one is killed only when everyone has worked again for a moment,
 * so that every kill hits work that is being done. Ends early, with everyone restarted, when the signal aborts.
 */
export class Chaos {
  readonly kills: Kill[] = []
  readonly problems: string[] = []
  /** Who is killed and not back yet. */
  down: string | undefined
  readonly #options: ChaosOptions

  constructor(options: ChaosOptions) {
    this.#options = options
  }

  async run(): Promise<void> {
    const { victims, kills, stretchMs, random, allow, recovered, signal } = this.#options
    const startedAt = performance.now()
    for (let k = 0; k < kills && victims.length > 0; k++) {
      const victim = victims[k % victims.length] as Victim
      await pause((victim.notBefore ?? 0) - performance.now(), signal)
      const upTo = (share: number, overMs: number) => allow((k + share) / (kills + 1), overMs)
      const momentMs = random() * 0.4 * stretchMs
      upTo(1 / 3, momentMs)
      await pause(momentMs, signal)
      // All at once, so that however few messages there are, some are under way when the kill comes.
      upTo(2 / 3, 0)
      await pause(random() * longestBurstMs, signal)
      if (signal.aborted) return
      const killedAt = performance.now()
      this.down = victim.name
      await victim.kill()
      upTo(1, 0.6 * stretchMs)
      await pause(random() * longestPauseMs, signal)
      await restart(victim)
      const problem = await recovered()
      if (problem) this.problems.push(`after the kill of ${victim.name}: ${problem}`)
      this.down = undefined
      const downMs = Math.round(performance.now() - killedAt)
      this.kills.push({ victim: victim.name, at: Number(((killedAt - startedAt) / 1_000).toFixed(3)), downMs })
      await pause(random() * longestCalmMs, signal)
      if (signal.aborted) return
    }
    allow(1, stretchMs)
  }
}

/** Another program may have the port for a moment, as the near end of a connection of its own. */
async function restart(victim: Victim): Promise<void> {
  for (let left = 3; ; left--) {
    try {
      return await victim.restart()
    } catch (error) {
      if (left === 0) throw error
      await sleep(1_000)
    }
  }
}

/** Resolves when the time is over, and not before, or the signal aborts. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  const end = performance.now() + ms
  while (!signal.aborted) {
    const left = end - performance.now()
    if (left <= 0) return
    // Timers may be a little early.
    await sleep(Math.ceil(left), undefined, { signal }).catch(() => {})
  }
}

/** Numbers from 0 to 1 that are the same for the same seed. Mulberry32. */
export function seeded(seed: number): () => number {
  let at = seed >>> 0
  return () => {
    at = (at + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(at ^ (at >>> 15), at | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/**
 * A free port that no outgoing connection is given: clients that knock at the port of a killed server would sooner or
 * later get that port for their own end, be connected to themselves, and keep the server from coming back.
 */
export async function lastingPort(): Promise<number> {
  const lowest = ephemeralFrom()
  for (let tries = 0; tries < 1_000; tries++) {
    const port = randomInt(10_000, lowest)
    if (await isFree(port)) return port
  }
  throw new Error(`no free port between 10000 and ${lowest}`)
}

function ephemeralFrom(): number {
  try {
    const lowest = Number(readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8').split(/\s+/)[0])
    return lowest > 11_000 ? lowest : 65_536
  } catch {
    // Not Linux; IANA's range.
    return 49_152
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise(resolve => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
  })
}
