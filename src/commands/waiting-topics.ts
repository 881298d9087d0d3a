interface TopicNode<T> {
  readonly children: Map<string, TopicNode<T>>
  readonly values: Set<T>
}

const newNode = <T>(): TopicNode<T> => ({ children: new Map(), values: new Set() })

/** Values filed under topics, found by topic filter. */
export class WaitingTopics<T> {
  #root = newNode<T>()
  #size = 0

  get size(): number {
    return this.#size
  }

  add(topic: string, value: T): void {
    let node = this.#root
    for (const level of topic.split('/')) {
      let next = node.children.get(level)
      if (!next) {
        next = newNode()
        node.children.set(level, next)
      }
      node = next
    }
    if (node.values.has(value)) return
    node.values.add(value)
    this.#size++
  }

  remove(topic: string, value: T): void {
    const path: [parent: TopicNode<T>, level: string, node: TopicNode<T>][] = []
    let node = this.#root
    for (const level of topic.split('/')) {
      const next = node.children.get(level)
      if (!next) return
      path.push([node, level, next])
      node = next
    }
    if (!node.values.delete(value)) return
    this.#size--
    for (const [parent, level, child] of path.reverse()) {
      if (child.values.size > 0 || child.children.size > 0) return
      parent.children.delete(level)
    }
  }

  /** Returns the values of all topics that the filter matches, in no order. */
  match(filter: string): readonly T[] {
    const found: T[] = []
    if (this.#size > 0) collect(this.#root, filter.split('/'), 0, found)
    return found
  }
}

function collect<T>(node: TopicNode<T>, levels: readonly string[], at: number, found: T[]): void {
  const level = levels[at]
  if (level === undefined) for (const value of node.values) found.push(value)
  else if (level === '#') collectAll(node, at === 0, found)
  else if (level === '+') {
    for (const [name, child] of node.children) {
      if (at > 0 || !name.startsWith('$')) collect(child, levels, at + 1, found)
    }
  } else {
    const child = node.children.get(level)
    if (child) collect(child, levels, at + 1, found)
  }
}

/** Collects what is below a node, and what is there: "sport/#" matches "sport", too. [MQTT-4.7.1-2] [MQTT-4.7.2-1] */
function collectAll<T>(node: TopicNode<T>, isRoot: boolean, found: T[]): void {
  for (const value of node.values) found.push(value)
  for (const [name, child] of node.children) if (!isRoot || !name.startsWith('$')) collectAll(child, false, found)
}
