/** Number of messages that one session has of each group, by the key of the group. Takes no memory before the first one. */
export class GroupCounts {
  #counts: Map<string, number> | undefined

  /** Groups with messages. */
  get size(): number {
    return this.#counts?.size ?? 0
  }

  of(group: string): number {
    return this.#counts?.get(group) ?? 0
  }

  add(group: string): void {
    this.#counts ??= new Map()
    this.#counts.set(group, this.of(group) + 1)
  }

  /** Takes one message off, and returns how many are left. */
  remove(group: string): number {
    const left = Math.max(0, this.of(group) - 1)
    if (left > 0) this.#counts?.set(group, left)
    else this.#counts?.delete(group)
    return left
  }
}
