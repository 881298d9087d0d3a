import type { AedesPublishPacket } from 'aedes'
import { FilterIndex } from '../topics.js'

type Listener = (packet: AedesPublishPacket, done: () => void) => void

/**
 * The emitter Aedes delivers through (its `mq` option), in place of mqemitter: a topic's listeners are found once
 * and remembered, called one after the other, and never waited for. There is no queue that a flood could fill and
 * no slot that a frozen subscriber could hold (research: aedes.md §2.5); each socket's own outbox is the bound.
 */
export class Emitter {
  /** Aedes reads it; nothing here is limited by it. */
  readonly concurrency = 0
  readonly #index = new FilterIndex<Listener>()

  on(filter: string, listener: Listener, done?: () => void): this {
    this.#index.add(filter, listener)
    if (done) setImmediate(done)
    return this
  }

  removeListener(filter: string, listener: Listener, done?: () => void): this {
    this.#index.remove(filter, listener)
    if (done) setImmediate(done)
    return this
  }

  emit(packet: AedesPublishPacket, done?: () => void): this {
    for (const listener of this.#index.match(packet.topic)) listener(packet, ignore)
    done?.()
    return this
  }

  close(done?: () => void): void {
    done?.()
  }
}

function ignore(): void {}
