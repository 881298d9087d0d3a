/** A lock with one holder at a time. */
export class Exclusive {
  #held: Promise<void> | undefined

  get isHeld(): boolean {
    return this.#held !== undefined
  }

  /** Takes the lock, which must be free. The function returned releases the lock. */
  hold(): () => void {
    let release = () => {}
    this.#held = new Promise(resolve => {
      release = () => {
        this.#held = undefined
        resolve()
      }
    })
    return release
  }

  /** Resolves when the lock is free. */
  async released(): Promise<void> {
    while (this.#held) await this.#held
  }
}
