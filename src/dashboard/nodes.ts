/** Creates elements of the page, and updates them without a rewrite. Data of the hub is only ever inserted as text. */

import { reasonText } from './wording.js'

export const element = <T extends HTMLElement = HTMLElement>(id: string) => document.getElementById(id) as T

/** Creates an element with a class and with text or children. */
export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  className = '',
  ...children: readonly (string | Node)[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag)
  if (className) made.className = className
  made.append(...children)
  return made
}

/** Returns a text in which the names in braces stand for elements, as texts and elements. */
export function withNodes(text: string, nodes: Readonly<Record<string, Node>>): readonly (string | Node)[] {
  return text.split(/\{(\w+)\}/).map((part, i) => (i % 2 === 1 ? (nodes[part] ?? `{${part}}`) : part))
}

/** Creates the words for a reason, if there are any, and the code. */
export function reasonLabel(reason: string): HTMLElement {
  const words = reasonText(reason)
  return make('span', 'reason-label', ...(words ? [words, ' '] : []), make('code', '', reason))
}

/** Sets the text if different: every change is announced by a screen reader and loses the selection. */
export function put(target: Element, text: string): void {
  if (target.textContent !== text) target.textContent = text
}

/** Makes `wanted` the children, in this order. Children that stay keep the focus, unless they have to be moved. */
export function arrange(parent: Element, wanted: readonly Element[]): void {
  const staying = new Set(wanted)
  for (const child of [...parent.children]) if (!staying.has(child)) child.remove()
  for (const [i, child] of wanted.entries()) {
    const there = parent.children[i]
    if (there !== child) parent.insertBefore(child, there ?? null)
  }
}

/** One element per key, created once and painted again with every new row. */
export class Keyed<Row, Made extends Element> {
  readonly #parent: Element
  readonly #key: (row: Row) => string
  readonly #make: (row: Row) => Made
  readonly #paint: (made: Made, row: Row) => void
  #made = new Map<string, Made>()

  constructor(
    parent: Element,
    key: (row: Row) => string,
    make: (row: Row) => NoInfer<Made>,
    paint: (made: Made, row: Row) => void,
  ) {
    this.#parent = parent
    this.#key = key
    this.#make = make
    this.#paint = paint
  }

  /** Shows these rows and no others. Keys must differ. */
  show(rows: readonly Row[]): void {
    const next = new Map<string, Made>()
    for (const row of rows) {
      const key = this.#key(row)
      const made = this.#made.get(key) ?? this.#make(row)
      this.#paint(made, row)
      next.set(key, made)
    }
    this.#made = next
    arrange(this.#parent, [...next.values()])
  }
}
