import type { SmallMap } from '../runtime/small-map.js'

/** A level of a topic. `topic` is set where a topic ends; its message may have been deleted meanwhile. */
export interface RetainedNode {
  children: SmallMap<string, RetainedNode> | undefined
  topic: string | undefined
}

/** Steps that all walks together take between two pauses. */
const stepsAtOnce = 500

/** Counts the steps of all walks together, as one client may begin thousands of short ones. */
export class WalkSteps {
  #left = stepsAtOnce

  /** Counts one step. Returns whether it is time for a pause. */
  isPauseDue(): boolean {
    if (this.#left-- > 0) return false
    this.#left = stepsAtOnce
    return true
  }
}

interface Branch {
  readonly children: Iterator<[string, RetainedNode]>
  /** Place, in the filter, of the level that the children are compared with. */
  readonly depth: number
  readonly isRoot: boolean
}

/** The topics of a trie that match a filter, in no order. No generator, as one for each level is ten times as slow. */
export class TopicWalk {
  readonly #levels: readonly string[]
  readonly #steps: WalkSteps
  readonly #branches: Branch[] = []
  /** The node to look at next, with its place in the filter. */
  #node: RetainedNode | undefined
  #depth = 0
  #hasPaused = false

  constructor(root: RetainedNode, filter: string, steps: WalkSteps) {
    this.#levels = filter.split('/')
    this.#steps = steps
    this.#node = root
  }

  /** Returns the next topic; `pause` when others are to have their turn; undefined at the end. */
  next(): string | 'pause' | undefined {
    for (;;) {
      const node = this.#node ?? this.#nextChild()
      if (!node) return undefined
      this.#node = node
      if (!this.#hasPaused && this.#steps.isPauseDue()) {
        this.#hasPaused = true
        return 'pause'
      }
      this.#hasPaused = false
      const topic = this.#enter(node)
      if (topic !== undefined) return topic
    }
  }

  /** Looks at a node. Returns its topic if that matches. */
  #enter(node: RetainedNode): string | undefined {
    this.#node = undefined
    const depth = this.#depth
    const level = this.#levels[depth]
    if (level === undefined) return node.topic
    const { children } = node
    if (level === '#') {
      if (children) this.#branch(children, depth)
      // "sport/#" also matches "sport": the parent level. [MQTT-4.7.1-2]
      return node.topic
    }
    if (!children) return undefined
    if (level === '+') this.#branch(children, depth + 1)
    else {
      this.#node = children.get(level)
      this.#depth = depth + 1
    }
    return undefined
  }

  #branch(children: SmallMap<string, RetainedNode>, depth: number): void {
    const isRoot = this.#depth === 0 && this.#branches.length === 0
    this.#branches.push({ children: children[Symbol.iterator](), depth, isRoot })
  }

  #nextChild(): RetainedNode | undefined {
    for (let branch = this.#branches.at(-1); branch; branch = this.#branches.at(-1)) {
      const { done, value } = branch.children.next()
      if (done) this.#branches.pop()
      // [MQTT-4.7.2-1]
      else if (!branch.isRoot || value[0].charCodeAt(0) !== 36) {
        this.#depth = branch.depth
        return value[1]
      }
    }
    return undefined
  }
}
