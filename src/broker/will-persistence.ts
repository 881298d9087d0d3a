import { Readable } from 'node:stream'
import type { Client as AedesClient } from 'aedes'
import type { QoS } from '../model.js'
import type { Will } from '../mqtt/codec.js'
import type { LastWills } from '../sessions/sessions.js'

/** A will in the form in which Aedes stores it and hands it over to be published, with the fields of MQTT 5. */
export interface StoredWill {
  readonly topic: string
  readonly payload: Buffer
  readonly qos: QoS
  readonly retain: boolean
  readonly clientId?: string
  readonly user?: string
  readonly delay?: number
  readonly expiry?: number | undefined
  readonly properties?: Buffer | undefined
}

/** The owner of a will: a client of the hub. */
export interface WillOwner {
  readonly id: string
  readonly user: string
  readonly will: Will | undefined
}

/** The part of Aedes that tells whether a will's client has a successor. */
interface AedesClients {
  readonly clients: Readonly<Record<string, { readonly closed: boolean }>>
}

/**
 * The persistence of Aedes in the hub: wills alone. The rest would make Aedes restore and deliver, which is the work of
 * the sessions.
 */
export class WillPersistence {
  readonly #wills: LastWills
  readonly #ownerOf: (client: AedesClient) => WillOwner
  #aedes: AedesClients | undefined

  constructor(wills: LastWills, ownerOf: (client: AedesClient) => WillOwner) {
    this.#wills = wills
    this.#ownerOf = ownerOf
  }

  async setup(aedes: AedesClients): Promise<void> {
    this.#aedes = aedes
  }

  async putWill(client: AedesClient, packet: StoredWill): Promise<void> {
    // Aedes knows MQTT 3.1.1 only: the fields of MQTT 5 are added here.
    const { id: clientId, user, will } = this.#ownerOf(client)
    const { delay = 0, expiry, properties } = will ?? {}
    const { topic, payload, qos, retain } = Object.assign(packet, { clientId, user, delay, expiry, properties })
    const bytes = Buffer.isBuffer(payload) ? payload : Buffer.from(payload)
    this.#wills.put({ topic, payload: bytes, qos, retain, clientId, ...(user && { user }), delay, expiry, properties })
  }

  /** Deletes a published will. Aedes names the will by client id: a successor's will under that id is kept. */
  async delWill({ id, brokerId }: { readonly id: string; readonly brokerId?: string }): Promise<void> {
    const hasSuccessor = brokerId !== undefined && this.#aedes?.clients[id]?.closed === false
    if (!hasSuccessor) this.#wills.delete(id)
  }

  /** Returns no wills: Aedes would take them for wills of dead brokers. The hub's own are handled at the start. */
  streamWill(): Readable {
    return Readable.from([])
  }

  // — every client begins without a session, as Aedes sees it —

  async cleanSubscriptions(): Promise<void> {}

  /** Returns no queued messages: an array, as a stream would cost a third of the time that Aedes needs for a client. */
  outgoingStream(): readonly never[] {
    return []
  }
}
