/** Reads records of CSV (RFC 4180) with one separator. */
export class CsvLine {
  readonly #separator: string

  constructor(separator: string) {
    this.#separator = separator
  }

  /** Returns the cells. Throws an error for people when a quote is not closed. */
  cells(text: string): string[] {
    const separator = this.#separator
    if (!text.includes('"')) return text.split(separator)
    const cells: string[] = []
    let at = 0
    for (;;) {
      let cell: string
      if (text[at] === '"') {
        cell = ''
        let from = at + 1
        for (;;) {
          const end = text.indexOf('"', from)
          if (end < 0) throw new Error('a quote is not closed')
          cell += text.slice(from, end)
          if (text[end + 1] !== '"') {
            at = end + 1
            break
          }
          cell += '"'
          from = end + 2
        }
        const next = text.indexOf(separator, at)
        if (text.slice(at, next < 0 ? undefined : next).trim() !== '')
          throw new Error('there is text behind a closing quote')
        at = next
      } else {
        const next = text.indexOf(separator, at)
        cell = text.slice(at, next < 0 ? undefined : next)
        at = next
      }
      cells.push(cell)
      if (at < 0) return cells
      at += separator.length
    }
  }
}
