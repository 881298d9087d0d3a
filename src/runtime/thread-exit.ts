/**
 * Lets a thread exit in order after an uncaught error. An environment of Node must not end while a native call of an
 * add-on is under way: the call completes into nothing, and the whole process aborts.
 */
export class ThreadExit {
  readonly #hooks: (() => Promise<void> | void)[] = []
  #isExiting = false
  #prepared: Promise<void> | undefined

  /**
   * Registers a hook for the exit of the thread. Before `hook` returns, the part must have stopped handling anything
   * more. The promise of the hook resolves when the thread may exit; a rejection counts as that, too. A part that
   * registers while the exit is being prepared is stopped at once.
   */
  before(hook: () => Promise<void> | void): void {
    if (this.#prepared) void (async () => hook())().catch(() => {})
    else this.#hooks.push(hook)
  }

  /** Resolves when every hook has, however long native calls take: an earlier exit would abort the process. */
  prepare(): Promise<void> {
    this.#prepared ??= Promise.allSettled(this.#hooks.map(async hook => hook())).then(() => {})
    return this.#prepared
  }

  /**
   * The first uncaught error of the thread, or unhandled rejection, is reported at once. The thread ends with that
   * error once `prepare` has resolved; errors in between are consequences of the first one and are ignored.
   */
  onUncaught(report: (error: unknown) => void): void {
    process.on('uncaughtException', error => {
      if (this.#isExiting) return
      this.#isExiting = true
      // A native call that is under way does not always keep the event loop running.
      const awake = setInterval(() => {}, 1_000)
      const prepared = this.prepare()
      report(error)
      void prepared.then(() => {
        clearInterval(awake)
        process.removeAllListeners('uncaughtException')
        setImmediate(() => {
          throw error
        })
      })
    })
  }
}
