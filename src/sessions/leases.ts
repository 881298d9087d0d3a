/** How a delivery on lease has ended: the client acknowledged it, refused it (MQTT 5), or left before. */
export type LeaseEnd = 'acknowledged' | 'refused' | 'left'

/** A delivery that a session has for the time of one connection only, and does not keep. */
export interface Lease {
  /** Called once. */
  over(end: LeaseEnd): void
}

/** The deliveries on lease of one connection, by packet id. Takes no memory before the first one. */
export class Leases {
  #all: Map<number, Lease> | undefined

  add(packetId: number, lease: Lease): void {
    this.#all ??= new Map()
    this.#all.set(packetId, lease)
  }

  has(packetId: number): boolean {
    return this.#all?.has(packetId) === true
  }

  /** Ends the lease of a delivery that was acknowledged, if the delivery has one. */
  acknowledged(packetId: number, isRefused: boolean): void {
    const lease = this.#all?.get(packetId)
    if (!lease) return
    this.#all?.delete(packetId)
    lease.over(isRefused ? 'refused' : 'acknowledged')
  }

  /** Ends all leases, as the client has left. Returns the packet ids. */
  end(): readonly number[] {
    const ended = [...(this.#all ?? [])]
    this.#all = undefined
    for (const [, lease] of ended) lease.over('left')
    return ended.map(([packetId]) => packetId)
  }
}
