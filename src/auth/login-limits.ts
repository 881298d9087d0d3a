import { hashSecret } from '../passwords/passwords.js'
import { sourceOf } from '../runtime/addresses.js'
import { Attempts } from '../runtime/attempts.js'
import type { MillisecondClock } from '../runtime/time.js'
import type { Bans } from './bans.js'
import { busy, type LoginRefusal } from './principal.js'

export interface LoginLimitsOptions {
  /**
   * Failed attempts a minute from one address with one name. Further attempts are rejected without checking the
   * password.
   */
  readonly attempts: number
  readonly bans: Pick<Bans, 'leftMs'>
  readonly clock: MillisecondClock
}

/** An attempt to log in, which counts as failed until given back. */
export interface LoginAttempt {
  giveBack(): void
}

/**
 * SCRAM proofs a minute from sources where the user is not known, for all of those sources together. Scrypt limits
 * passwords to about ten a second; a proof takes no time.
 */
const proofsPerMinute = 600

/** Attempts of one address over all names, as a multiple of those of one name. */
const namesOfAddress = 50

/** Limits failed attempts to log in. `isKnown`: the user has authenticated from that address before. */
export class LoginLimits {
  readonly #options: LoginLimitsOptions
  readonly #attempts: Attempts
  readonly #attemptsOfAddress: Attempts
  readonly #proofs = new Attempts(proofsPerMinute)

  constructor(options: LoginLimitsOptions) {
    this.#options = options
    this.#attempts = new Attempts(options.attempts)
    this.#attemptsOfAddress = new Attempts(options.attempts * namesOfAddress)
  }

  /** Takes an attempt. Returns a refusal when too many have failed before. */
  attempt(address: string, name: string, isKnown: boolean): LoginAttempt | LoginRefusal {
    const { bans, clock } = this.#options
    // Counted by a hash of the name, known or not: names are long, and which users exist must not show.
    const source = sourceOf(address)
    const sourceAndName = `${source} ${hashSecret(name)}`
    const bannedMs = isKnown ? 0 : bans.leftMs(address)
    if (bannedMs > 0) return busy(`${address} is banned after too many failures (auth.ban)`, bannedMs)
    const waitMs =
      this.#attempts.take(sourceAndName, clock.now()) ||
      (isKnown ? 0 : this.#attemptsOfAddress.take(source, clock.now()))
    if (waitMs > 0) return busy(`too many failed attempts from ${address} (auth.attempts)`, waitMs)
    const giveBack = () => {
      this.#attempts.giveBack(sourceAndName)
      if (!isKnown) this.#attemptsOfAddress.giveBack(source)
    }
    return { giveBack }
  }

  /** Takes a SCRAM proof of an unknown source. Returns 0, or the milliseconds until the next one may come. */
  takeProof(): number {
    return this.#proofs.take('', this.#options.clock.now())
  }

  /** Gives a proof back that was right. */
  giveBackProof(): void {
    this.#proofs.giveBack('')
  }
}
