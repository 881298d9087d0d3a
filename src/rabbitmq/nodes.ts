/** Time that a node has to answer, in milliseconds: less where there is another one. */
const patienceMs = 10_000
const patienceAmongSeveralMs = 4_000

/**
 * The nodes of a RabbitMQ cluster, in the order in which they are tried. All connections of one owner share the choice,
 * so that they are at the same node.
 */
export class RabbitNodes {
  readonly #urls: readonly string[]
  #index = 0

  /** @param urls At least one URL */
  constructor(urls: readonly string[]) {
    this.#urls = urls
  }

  get size(): number {
    return this.#urls.length
  }

  /** URL of the node that is tried next, or in use. */
  get url(): string {
    return this.#urls[this.#index] as string
  }

  /** Host and port of that node. */
  get place(): string {
    return placeOf(this.url)
  }

  get patienceMs(): number {
    return this.size > 1 ? patienceAmongSeveralMs : patienceMs
  }

  /** Goes on to the next node, unless another connection has done so already. */
  failed(url: string): void {
    if (url === this.url) this.#index = (this.#index + 1) % this.#urls.length
  }
}

/** Returns host and port of a URL, without user and password. */
export function placeOf(url: string): string {
  const { host, port, protocol } = new URL(url)
  return port === '' ? `${host}:${protocol === 'amqps:' ? 5671 : 5672}` : host
}
