const drawEvery = 100

/** Functions that draw readings, called at most ten times a second however fast these come. */
export class Painters {
  readonly #painters = new Set<() => void>()
  readonly #before: () => void
  #timer: ReturnType<typeof setTimeout> | undefined

  /** @param before Called before each drawing of new readings. */
  constructor(before: () => void) {
    this.#before = before
  }

  /** Adds one. Returns how to take it away. */
  add(paint: () => void): () => void {
    this.#painters.add(paint)
    return () => this.#painters.delete(paint)
  }

  now(): void {
    for (const paint of this.#painters) paint()
  }

  soon(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined
      this.#before()
      this.now()
    }, drawEvery)
  }

  /** Draws no more until there is something new. */
  stop(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
  }
}
