import { SmallMap } from '../runtime/small-map.js'
import { isWildcard } from '../topics.js'

const none: readonly never[] = []

/** The values of one filter, in the order of insertion. An array is never changed, but replaced. */
export interface FilterValues<T> {
  readonly values: readonly T[] | ReadonlySet<T>
  readonly size: number
}

/** Number of values from which they are in a set, which takes four times the memory of an array with one value. */
const maxListed = 8

class Values<T> implements FilterValues<T> {
  values: readonly T[] | Set<T> = none

  get size(): number {
    return this.values instanceof Set ? this.values.size : this.values.length
  }

  add(value: T): void {
    if (this.values instanceof Set) this.values.add(value)
    else if (!this.values.includes(value)) {
      this.values = this.values.length < maxListed ? this.values.concat(value) : new Set([...this.values, value])
    }
  }

  delete(value: T): boolean {
    if (this.values instanceof Set) return this.values.delete(value)
    if (!this.values.includes(value)) return false
    this.values = this.values.length === 1 ? none : this.values.filter(one => one !== value)
    return true
  }
}

interface FilterNode<T> {
  children: SmallMap<string, FilterNode<T>> | undefined
  values: Values<T> | undefined
}

/**
 * Values filed under topic filters, found by topic. Exact filters are one map lookup, wildcards a walk of the trie. For
 * a topic the index remembers the matching filters, not their values: this stays valid until a wildcard filter, or that
 * very filter, is used for the first time or no longer. A busy topic therefore costs one lookup however many filters
 * and values there are. Adding and removing a value is O(levels of its filter).
 */
export class FilterIndex<T> {
  readonly #exact = new Map<string, Values<T>>()
  readonly #root: FilterNode<T> = { children: undefined, values: undefined }
  #remembered = new Map<string, readonly FilterValues<T>[]>()
  #rememberedWeight = 0
  readonly #work: { done: number }

  /** `work.done` goes up by one for each node that a search visits. */
  constructor(work = { done: 0 }) {
    this.#work = work
  }

  add(filter: string, value: T): void {
    if (!isWildcard(filter)) {
      let values = this.#exact.get(filter)
      if (!values) {
        values = new Values()
        this.#exact.set(filter, values)
        this.#remembered.delete(filter)
      }
      values.add(value)
      return
    }
    let node = this.#root
    for (const level of filter.split('/')) {
      node.children ??= new SmallMap()
      let next = node.children.get(level)
      if (!next) {
        next = { children: undefined, values: undefined }
        node.children.set(level, next)
      }
      node = next
    }
    if (!node.values) {
      node.values = new Values()
      this.#forget()
    }
    node.values.add(value)
  }

  remove(filter: string, value: T): void {
    if (!isWildcard(filter)) {
      const values = this.#exact.get(filter)
      if (!values?.delete(value) || values.size > 0) return
      this.#exact.delete(filter)
      this.#remembered.delete(filter)
      return
    }
    const path: FilterNode<T>[] = [this.#root]
    const levels = filter.split('/')
    for (const level of levels) {
      const next = path.at(-1)?.children?.get(level)
      if (!next) return
      path.push(next)
    }
    const last = path.at(-1) as FilterNode<T>
    if (!last.values?.delete(value) || last.values.size > 0) return
    last.values = undefined
    this.#forget()
    for (let i = levels.length; i > 0; i--) {
      const node = path[i] as FilterNode<T>
      if (node.values || node.children) break
      const { children } = path[i - 1] as FilterNode<T>
      children?.delete(levels[i - 1] as string)
      if (children?.size === 0) (path[i - 1] as FilterNode<T>).children = undefined
    }
  }

  /** Returns the values of every filter that matches. They are the index's own, and change with the index. */
  match(topic: string): readonly FilterValues<T>[] {
    const known = this.#remembered.get(topic)
    if (known) return known
    const found: FilterValues<T>[] = []
    // [MQTT-4.7.2-1]
    if (this.#root.children) {
      collect(this.#root, topic.split('/'), 0, topic.charCodeAt(0) === 36, found, this.#work)
    }
    const exact = this.#exact.get(topic)
    if (exact) found.push(exact)
    this.#rememberedWeight += topicWeight + topic.length + found.length
    if (this.#rememberedWeight > maxRememberedWeight) {
      this.#forget()
      this.#rememberedWeight = topicWeight + topic.length + found.length
    }
    this.#remembered.set(topic, found.length === 0 ? none : found)
    return found
  }

  #forget(): void {
    if (this.#remembered.size > 0) this.#remembered = new Map()
    this.#rememberedWeight = 0
  }
}

/** Maximum memory of remembered topics, in units of about 8 bytes. */
const maxRememberedWeight = 8e6
const topicWeight = 16

function collect<T>(
  node: FilterNode<T>,
  levels: readonly string[],
  depth: number,
  hidden: boolean,
  found: FilterValues<T>[],
  work: { done: number },
): void {
  work.done++
  const { children } = node
  if (!children) return
  if (!hidden || depth > 0) {
    // "sport/#" also matches "sport": the parent level. [MQTT-4.7.1-2]
    const rest = children.get('#')?.values
    if (rest) found.push(rest)
  }
  if (depth === levels.length) return
  const literal = children.get(levels[depth] as string)
  if (literal) reach(literal, levels, depth + 1, hidden, found, work)
  const any = !hidden || depth > 0 ? children.get('+') : undefined
  if (any) reach(any, levels, depth + 1, hidden, found, work)
}

function reach<T>(
  node: FilterNode<T>,
  levels: readonly string[],
  depth: number,
  hidden: boolean,
  found: FilterValues<T>[],
  work: { done: number },
): void {
  if (depth === levels.length && node.values) found.push(node.values)
  collect(node, levels, depth, hidden, found, work)
}
