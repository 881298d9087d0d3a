/** Changes that the page shows before the hub has saved them: an answer from before would take them back. */
export class ShownAhead {
  #unsaved = 0
  #count = 0

  /** Notes a change that is shown now. `saved` never rejects. */
  add(saved: Promise<unknown>): void {
    this.#count++
    this.#unsaved++
    void saved.finally(() => this.#unsaved--)
  }

  /** Names this moment, for {@link isOld}. */
  get mark(): number {
    return this.#count
  }

  /** Whether what was asked for at a moment may lack a change. */
  isOld(mark: number): boolean {
    return this.#unsaved > 0 || mark !== this.#count
  }
}
