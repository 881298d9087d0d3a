/** Runs work one piece at a time, in the order given. Work that fails does not keep the next from running. */
export class SerialQueue {
  #last: Promise<unknown> = Promise.resolve()

  /** Settles as the work does, which begins once all work given before has ended; never within this call. */
  run<Result>(work: () => Result | Promise<Result>): Promise<Result> {
    const result = this.#last.then(work)
    this.#last = result.catch(() => {})
    return result
  }

  /** Resolves when all work given so far has ended. */
  async idle(): Promise<void> {
    await this.#last
  }
}
