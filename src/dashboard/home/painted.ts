import { Pure } from './pure.js'

/**
 * A component whose elements Preact makes once, and whose texts are written by hand: values may change much faster than
 * anything else on the page.
 */
export abstract class Painted<Properties extends object> extends Pure<Properties> {
  #end: (() => void) | undefined
  #host: HTMLElement | null = null
  /** Takes the element that is painted, as a `ref`. */
  protected readonly hosted = (host: HTMLElement | null): void => {
    this.#host = host
  }

  override componentDidMount(): void {
    this.#end = this.watch(() => this.#paint())
    this.#paint()
  }

  override componentDidUpdate(): void {
    this.componentWillUnmount()
    this.componentDidMount()
  }

  override componentWillUnmount(): void {
    this.#end?.()
  }

  /** Has `paint` called when what is shown may have changed. Returns how to end that. */
  protected abstract watch(paint: () => void): () => void

  /** Writes what the properties say now. */
  protected abstract paint(host: HTMLElement): void

  #paint(): void {
    if (this.#host) this.paint(this.#host)
  }
}

/** Writes a text, unless that is there already. */
export function write(element: HTMLElement, text: string): void {
  if (element.textContent !== text) element.textContent = text
}

/** Sets a data attribute, unless the value is the same. */
export function setData(element: HTMLElement, name: string, value: string): void {
  if (element.dataset[name] !== value) element.dataset[name] = value
}
