import { takeOldest } from '../runtime/drop-oldest.js'

/** Bridges that are gone and whose state is still shown. */
const maxGone = 1_000

/** Retains a bridge's state on a topic; without a state, clears the topic. */
export type ShowState = (topic: string, state: '0' | '1' | undefined) => void

/** A client that may be a bridge. */
interface BridgeClient {
  readonly id: string
}

/**
 * The states that bridges of Mosquitto report: `1` while connected and `0` after, retained at
 * `$SYS/broker/connection/{clientId}/state`. With default settings a bridge publishes there and leaves a will for the
 * same topic. The hub shows the state, and neither spools nor stores the publish.
 */
export class BridgeStates {
  readonly #show: ShowState
  /** Clients connected as bridges, by topic. */
  readonly #connected = new Map<string, BridgeClient>()
  /** Topics that show `0`, the longest gone first. */
  readonly #gone = new Set<string>()

  constructor(show: ShowState) {
    this.#show = show
  }

  /** Takes a publish in which a bridge reports the bridge's own state; returns false for any other publish. */
  takes(client: BridgeClient, topic: string, payload: Buffer): boolean {
    const state = topic === bridgeStateTopic(client.id) ? bridgeStateOf(payload) : undefined
    if (state) this.#report(client, topic, state)
    return state !== undefined
  }

  #report(client: BridgeClient, topic: string, state: '0' | '1'): void {
    const shown = this.#connected.get(topic)
    // Another user may have a client of the same id.
    if (shown && shown !== client) return
    if (state === '0') this.#over(topic)
    else if (!shown) {
      this.#gone.delete(topic)
      this.#connected.set(topic, client)
      this.#show(topic, '1')
    }
  }

  /** Called when the connection of a client is over. */
  left(client: BridgeClient): void {
    const topic = bridgeStateTopic(client.id)
    if (this.#connected.get(topic) === client) this.#over(topic)
  }

  /** Takes a will that reports the end of a bridge whose client is gone; returns false for any other will. */
  takesWill(clientId: string, topic: string): boolean {
    if (topic !== bridgeStateTopic(clientId)) return false
    if (!this.#connected.has(topic)) this.#over(topic)
    return true
  }

  #over(topic: string): void {
    this.#connected.delete(topic)
    if (this.#gone.delete(topic)) {
      this.#gone.add(topic)
      return
    }
    this.#gone.add(topic)
    this.#show(topic, '0')
    if (this.#gone.size <= maxGone) return
    const longest = takeOldest(this.#gone)
    if (longest !== undefined) this.#show(longest, undefined)
  }
}

/** Returns the topic of a bridge's state: Mosquitto's `bridge_notifications`, on their default topic. */
export function bridgeStateTopic(clientId: string): string {
  return `$SYS/broker/connection/${clientId}/state`
}

/** Returns the state in a message of a bridge; undefined when the payload is no state. */
function bridgeStateOf(payload: Buffer): '0' | '1' | undefined {
  if (payload.length !== 1) return undefined
  return payload[0] === 0x31 ? '1' : payload[0] === 0x30 ? '0' : undefined
}
