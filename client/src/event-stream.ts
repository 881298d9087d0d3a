/** One event of a stream of Server-Sent Events. */
export interface StreamEvent {
  readonly event: string
  readonly data: string
}

/**
 * Parser of Server-Sent Events (HTML Living Standard, section 9.2.6), as the hub writes them: LF or CRLF, one event
 * after another, in chunks cut anywhere.
 */
export class EventParser {
  #text = ''
  #event = ''
  #data: string[] = []

  /** Returns the events that are complete with this chunk. */
  push(chunk: string): StreamEvent[] {
    const events: StreamEvent[] = []
    const lines = (this.#text + chunk).split('\n')
    this.#text = lines.pop() ?? ''
    for (const raw of lines) {
      const line = raw.endsWith('\r') ? raw.slice(0, -1) : raw
      if (line === '') {
        if (this.#data.length > 0) events.push({ event: this.#event || 'message', data: this.#data.join('\n') })
        this.#event = ''
        this.#data = []
        continue
      }
      const colon = line.indexOf(':')
      const field = colon < 0 ? line : line.slice(0, colon)
      const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '')
      if (field === 'event') this.#event = value
      else if (field === 'data') this.#data.push(value)
    }
    return events
  }
}
