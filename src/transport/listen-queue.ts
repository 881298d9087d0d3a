import { readFileSync } from 'node:fs'

/** Interval at which the system's count is read, in milliseconds. */
const everyMs = 10_000

/**
 * Returns how many connections Linux has dropped since it was started because a queue of connections that wait to be
 * accepted was full, from the text of /proc/net/netstat. Undefined when the text does not say.
 */
export function overflowsIn(netstat: string): number | undefined {
  const lines = netstat.split('\n').filter(line => line.startsWith('TcpExt:'))
  const [names = [], values = []] = lines.map(line => line.split(' '))
  const count = Number(values[names.indexOf('ListenOverflows')])
  return Number.isInteger(count) ? count : undefined
}

/**
 * Tells when clients come faster than the hub accepts them, and the system drops connections: nothing else would say why
 * their attempts fail. The system counts for all programs of its network, in a container for those there. Linux only;
 * elsewhere nothing is told.
 */
export class ListenQueue {
  readonly #read: (path: string) => string
  readonly #dropped: (sentence: string) => void
  #before: number | undefined
  #timer: NodeJS.Timeout | undefined

  /** `dropped` is called with a sentence for the log. */
  constructor(dropped: (sentence: string) => void, read = (path: string) => readFileSync(path, 'utf8')) {
    this.#dropped = dropped
    this.#read = read
  }

  start(): void {
    this.look()
    if (this.#before !== undefined) this.#timer = setInterval(() => this.look(), everyMs).unref()
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  /** Compares the system's count with that of the last look. */
  look(): void {
    const now = this.#ask('/proc/net/netstat', overflowsIn)
    const before = this.#before
    this.#before = now
    if (now === undefined || before === undefined || now <= before) return
    const most = this.#ask('/proc/sys/net/core/somaxconn', Number)
    this.#dropped(
      `the system dropped attempts to connect ${now - before} times, as more clients came at once than may wait to be ` +
        `accepted (net.core.somaxconn is ${most ?? 'unknown'}); they try again, and some see their connection reset`,
    )
  }

  #ask<T>(path: string, read: (text: string) => T): T | undefined {
    try {
      return read(this.#read(path))
    } catch {
      return undefined
    }
  }
}
