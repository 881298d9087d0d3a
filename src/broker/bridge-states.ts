/** Bridges that are gone and whose state is still shown. */
const maxGone = 1_000

/** Retains a bridge's state on a topic; without a state, clears the topic. */
export type ShowState = (topic: string, state: '0' | '1' | undefined) => void

/**
 * The states that bridges of Mosquitto report: `1` while connected and `0` after, retained at
 * `$SYS/broker/connection/{clientId}/state`. With default settings a bridge publishes there and leaves a will for the
 * same topic. The hub shows the state, and neither spools nor stores the publish.
 */
export class BridgeStates {
  readonly #show: ShowState
  /** Clients connected as bridges, by topic. */
  readonly #connected = new Map<string, object>()
  /** Topics that show `0`, the longest gone first. */
  readonly #gone = new Set<string>()

  constructor(show: ShowState) {
    this.#show = show
  }

  /** Called when a connected client has published to the topic of that client's own state. */
  report(client: object, topic: string, state: '0' | '1'): void {
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
  left(client: object, topic: string): void {
    if (this.#connected.get(topic) === client) this.#over(topic)
  }

  /** Called when the will of a client that is gone reports the end of the bridge. */
  lost(topic: string): void {
    if (!this.#connected.has(topic)) this.#over(topic)
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
    const longest = this.#gone.values().next().value as string
    this.#gone.delete(longest)
    this.#show(longest, undefined)
  }
}

/** Returns the topic of a bridge's state: Mosquitto's `bridge_notifications`, on their default topic. */
export function bridgeStateTopic(clientId: string): string {
  return `$SYS/broker/connection/${clientId}/state`
}

/** Returns the state in a message of a bridge; undefined when the payload is no state. */
export function bridgeStateOf(payload: Buffer): '0' | '1' | undefined {
  if (payload.length !== 1) return undefined
  return payload[0] === 0x31 ? '1' : payload[0] === 0x30 ? '0' : undefined
}
