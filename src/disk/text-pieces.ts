import { Slices } from '../runtime/slices.js'

/** Characters of one piece. */
const pieceLength = 1e6

/**
 * Texts, joined into pieces of about a megabyte for `replaceInPieces`, so that a large file is never in memory as a
 * whole. A text is made when its piece is; other work of the thread gets its turns. To be iterated once.
 */
export class TextPieces implements AsyncIterable<string> {
  /** Characters so far. */
  length = 0
  readonly #texts: Iterable<string>
  readonly #slices: Slices

  /** @param sliceMs Milliseconds of work before other work gets a turn; default: that of {@link Slices} */
  constructor(texts: Iterable<string>, sliceMs?: number) {
    this.#texts = texts
    this.#slices = new Slices(sliceMs)
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<string> {
    let piece = ''
    for (const text of this.#texts) {
      if (this.#slices.isOver) await this.#slices.turn()
      this.length += text.length
      piece += text
      if (piece.length < pieceLength) continue
      yield piece
      piece = ''
    }
    if (piece !== '') yield piece
  }
}
