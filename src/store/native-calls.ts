/** Asynchronous calls of a native add-on that are under way in this thread. */
export class NativeCalls {
  #underWay = 0
  #hasEnded = false
  #idle: (() => void) | undefined

  /** Resolves or rejects as `call` does. Once `end` was called, begins no call, and never resolves or rejects. */
  async run<T>(call: () => Promise<T>): Promise<T> {
    if (this.#hasEnded) return forever()
    this.#underWay++
    try {
      return await call()
    } finally {
      this.#underWay--
      if (this.#hasEnded) {
        if (this.#underWay === 0) this.#idle?.()
        await forever()
      }
    }
  }

  /** Lets no caller continue from now on. Resolves when no call is under way any more; to be called once. */
  async end(): Promise<void> {
    this.#hasEnded = true
    await new Promise<void>(resolve => {
      if (this.#underWay === 0) resolve()
      else this.#idle = resolve
    })
    // Callers whose call ended just before go on up to their next call.
    await new Promise(resolve => setImmediate(resolve))
  }
}

function forever(): Promise<never> {
  return new Promise(() => {})
}
