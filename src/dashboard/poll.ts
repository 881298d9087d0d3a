export interface PollOptions<Answer> {
  /** Whether the page that needs the answers is shown. Nothing is asked otherwise, nor while the tab is hidden. */
  readonly isShown: () => boolean
  readonly ask: () => Promise<Answer>
  /** Takes an answer or an error. Returns the time until the next question; undefined: none. */
  readonly answered: (answer: Answer | Error) => number | undefined | Promise<number | undefined>
}

/** Asks the hub again and again while a page is shown. An answer that comes after the next question is dropped. */
export class Poll<Answer> {
  readonly #options: PollOptions<Answer>
  #timer: ReturnType<typeof setTimeout> | undefined
  #asked = 0

  constructor(options: PollOptions<Answer>) {
    this.#options = options
    document.addEventListener('visibilitychange', () => {
      if (!document.hidden) void this.ask()
    })
  }

  /** Asks now. Resolves when the answer was taken. */
  async ask(): Promise<void> {
    clearTimeout(this.#timer)
    const { isShown, ask, answered } = this.#options
    if (document.hidden || !isShown()) return
    const asked = ++this.#asked
    const answer = await ask().catch((error: unknown) => (error instanceof Error ? error : new Error(String(error))))
    if (asked !== this.#asked) return
    const pause = await answered(answer)
    if (asked === this.#asked && pause !== undefined) this.soon(pause)
  }

  /** Asks in a while, in place of a question that is due. */
  soon(inMs: number): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => void this.ask(), inMs)
  }

  /** Asks nothing more until `ask` or `soon`, and drops an answer that is on its way. */
  stop(): void {
    this.#asked++
    clearTimeout(this.#timer)
  }
}
