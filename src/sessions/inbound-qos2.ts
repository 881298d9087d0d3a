import { HubError } from '../errors.js'

/** Maximum number of QoS 2 publishes of one client that wait for PUBREL. MQTT 3.1.1 cannot announce such a limit. */
export const maxIncoming = 1_000

/**
 * The QoS 2 publishes of one client, by packet id: those on their way into the spool, and those that are there until
 * PUBREL, of which only the packet id is still needed. Takes no memory before the first one.
 */
export class InboundQos2 {
  #spooled: Set<number> | undefined
  /** Callbacks that wait until a publish is in the spool. */
  #accepting: Map<number, ((error?: Error) => void)[]> | undefined

  /** Number of publishes in the spool that wait for PUBREL. */
  get size(): number {
    return this.#spooled?.size ?? 0
  }

  /** Returns whether the publish is in the spool: one with the same packet id is a retransmission. */
  has(packetId: number): boolean {
    return this.#spooled?.has(packetId) === true
  }

  keys(): IterableIterator<number> {
    return (this.#spooled ?? none).values()
  }

  add(packetId: number): void {
    this.#spooled ??= new Set()
    this.#spooled.add(packetId)
  }

  delete(packetId: number): boolean {
    return this.#spooled?.delete(packetId) === true
  }

  clear(): void {
    this.#spooled = undefined
  }

  /** Frees the memory of collections that are empty. */
  release(): void {
    if (this.#spooled?.size === 0) this.#spooled = undefined
    if (this.#accepting?.size === 0) this.#accepting = undefined
  }

  /**
   * Receives a publish. The first time, `accept` is called to make the publish durable, and `spooled` once it is; a
   * retransmission is recognised and only waits for that. `done` is called when PUBREC may be sent. After an error
   * PUBREC must not be sent, and the publish may come again.
   */
  receive(
    packetId: number,
    accept: (done: (error?: Error) => void) => void,
    spooled: () => void,
    done: (error?: Error) => void,
  ): void {
    // A publish is recognised by the packet id alone: not every client that retransmits sets DUP, and an id is only
    // free again after a PUBCOMP, which is not sent before the release is on disk. [MQTT-4.3.3-2]
    if (this.has(packetId)) {
      done()
      return
    }
    this.#accepting ??= new Map()
    const accepting = this.#accepting.get(packetId)
    if (accepting) {
      accepting.push(done)
      return
    }
    if (this.size + this.#accepting.size >= maxIncoming) {
      done(new HubError('too_many', `more than ${maxIncoming} QoS 2 publishes are waiting for their PUBREL`))
      return
    }
    const waiting = [done]
    this.#accepting.set(packetId, waiting)
    accept(error => {
      this.#accepting?.delete(packetId)
      if (!error) {
        this.add(packetId)
        spooled()
      }
      for (const each of waiting) each(error)
    })
  }

  /**
   * Ends the exchange of a packet id. Calls `released` with whether a publish with that packet id was there; with an
   * error when the publish was still on its way, and was not accepted.
   */
  whenReleased(packetId: number, released: (error: Error | undefined, isKnown: boolean) => void): void {
    // PUBREL came before PUBREC was sent: the publish is accepted first, and then released.
    const accepting = this.#accepting?.get(packetId)
    if (accepting) accepting.push(error => (error ? released(error, false) : this.whenReleased(packetId, released)))
    else released(undefined, this.delete(packetId))
  }
}

const none: ReadonlySet<number> = new Set()
