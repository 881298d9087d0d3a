import { get, type IncomingMessage } from 'node:http'

/** One event of a stream of Server-Sent Events. */
export interface StreamEvent {
  readonly event: string
  readonly id: string
  readonly data: string
}

/** A receiver of Server-Sent Events (HTML Living Standard, section 9.2) that can stop reading. */
export class EventStream {
  readonly events: StreamEvent[] = []
  /** Id of the last event that had one. */
  lastId = ''
  isOver = false
  readonly #request
  #response: IncomingMessage | undefined
  #text = ''

  constructor(url: string, headers: Readonly<Record<string, string>> = {}) {
    this.#request = get(url, { headers, agent: false }, response => {
      this.#response = response
      response.setEncoding('utf8')
      response.on('data', (text: string) => this.#take(text))
      response.on('close', () => {
        this.isOver = true
      })
      response.on('error', () => {})
    })
    this.#request.on('error', () => {
      this.isOver = true
    })
  }

  pause(): void {
    this.#response?.pause()
  }

  resume(): void {
    this.#response?.resume()
  }

  close(): void {
    this.#request.destroy()
  }

  of(kind: string): StreamEvent[] {
    return this.events.filter(({ event }) => event === kind)
  }

  #take(text: string): void {
    this.#text += text
    for (let end = this.#text.indexOf('\n\n'); end >= 0; end = this.#text.indexOf('\n\n')) {
      const lines = this.#text.slice(0, end).split('\n')
      this.#text = this.#text.slice(end + 2)
      const field = (name: string) => lines.find(line => line.startsWith(`${name}: `))?.slice(name.length + 2) ?? ''
      if (field('data') === '' && field('event') === '') continue
      const id = field('id')
      if (id !== '') this.lastId = id
      this.events.push({ event: field('event') || 'message', id, data: field('data') })
    }
  }
}
