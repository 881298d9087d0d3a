/** One holder at a time. */
export class Exclusive {
  #held: Promise<void> | undefined

  get isHeld(): boolean {
    return this.#held !== undefined
  }

  /** Only while nobody holds it. It is the caller's until the function returned is called. */
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

  /** Resolves when nobody holds it. */
  async released(): Promise<void> {
    while (this.#held) await this.#held
  }
}
