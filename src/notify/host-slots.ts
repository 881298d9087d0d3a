/** Requests to one push service at a time. */
const perHost = 8

/** Limits the requests to each host, so that one that hangs delays no other, and none is flooded. */
export class HostSlots {
  readonly #hosts = new Map<string, { running: number; readonly waiting: (() => void)[] }>()

  /** Runs work when the host has a slot. Rejects when the signal aborts before. */
  async run<Result>(host: string, signal: AbortSignal, work: () => Promise<Result>): Promise<Result> {
    const slots = this.#hosts.get(host) ?? { running: 0, waiting: [] }
    this.#hosts.set(host, slots)
    const { waiting } = slots
    if (slots.running >= perHost) await new Promise<void>(resolve => waiting.push(resolve))
    else slots.running++
    try {
      signal.throwIfAborted()
      return await work()
    } finally {
      // The slot passes to the next one that waits.
      const next = waiting.shift()
      if (next) next()
      else if (--slots.running === 0) this.#hosts.delete(host)
    }
  }
}
