/** States that are shown of bridges that are gone. */
const maxGone = 1_000

/** Shows a state, retained on a topic; without one nothing is shown there any more. */
export type ShowState = (topic: string, state: '0' | '1' | undefined) => void

/**
 * What bridges of Mosquitto say of themselves: `1` while they are connected and `0` after, retained at
 * `$SYS/broker/connection/{clientId}/state`. A bridge publishes there, and leaves its will there, with its default
 * settings. The hub shows the state and neither spools nor stores it.
 */
export class BridgeStates {
  readonly #show: ShowState
  /** By topic, the client that is connected. */
  readonly #connected = new Map<string, object>()
  /** Topics that show `0`, the longest gone first. */
  readonly #gone = new Set<string>()

  constructor(show: ShowState) {
    this.#show = show
  }

  /** A connected client has published to the topic of its own state. */
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

  /** The connection of a client is over. */
  left(client: object, topic: string): void {
    if (this.#connected.get(topic) === client) this.#over(topic)
  }

  /** The will of a client that is gone says that its bridge is. */
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

/** Where a bridge says whether it is connected: Mosquitto's `bridge_notifications`, on their default topic. */
export function bridgeStateTopic(clientId: string): string {
  return `$SYS/broker/connection/${clientId}/state`
}

/** The state in a message of a bridge; undefined when it is none. */
export function bridgeStateOf(payload: Buffer): '0' | '1' | undefined {
  if (payload.length !== 1) return undefined
  return payload[0] === 0x31 ? '1' : payload[0] === 0x30 ? '0' : undefined
}
