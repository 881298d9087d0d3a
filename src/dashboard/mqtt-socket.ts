import {
  connectPacket,
  disconnectPacket,
  keepAlive,
  type Login,
  PacketReader,
  pingPacket,
  subscribePacket,
} from './mqtt-packets.js'

/** Time in which a connection has to be there. */
const connectWithin = 8_000
/** Interval of pings. A hidden tab's timers run once a minute, which the hub allows: half of the time again is for that. */
const pingEvery = (keepAlive - 10) * 1_000

/** Receiver of what happens on a connection. */
export interface SocketHandlers {
  /** The hub has accepted the login. */
  connected(): void
  /** Some bytes have come, and are about to be read. */
  arrived(): void
  /** A message has come. The payload is valid only during the call. */
  message(topic: string, payload: Uint8Array, retained: boolean): void
  /** The connection has ended, or there was none. Called once. `isRefused`: the hub did not accept the login. */
  closed(isRefused: boolean): void
}

/** One connection to the hub: MQTT 3.1.1 in a WebSocket, which reads at QoS 0. */
export class MqttSocket {
  readonly #socket: WebSocket
  readonly #handlers: SocketHandlers
  readonly #answers = new Map<number, (granted: readonly boolean[]) => void>()
  readonly #late: ReturnType<typeof setTimeout>
  #pings: ReturnType<typeof setInterval> | undefined
  #isConnected = false
  #isClosed = false
  #isRefused = false
  #isHeard = true
  #lastId = 0

  constructor(url: string, login: Login, handlers: SocketHandlers) {
    this.#handlers = handlers
    const reader = new PacketReader({
      connack: code => this.#connack(code),
      suback: (id, granted) => this.#answers.get(id)?.(granted),
      message: (topic, payload, retained) => {
        if (this.#isClosed) return
        try {
          handlers.message(topic, payload, retained)
        } catch (error) {
          // An error of the page is not one of the connection.
          reportError(error)
        }
      },
    })
    const socket = new WebSocket(url, 'mqtt')
    this.#socket = socket
    this.#late = setTimeout(() => this.#close(), connectWithin)
    socket.binaryType = 'arraybuffer'
    socket.onopen = () => socket.send(connectPacket(login) as Uint8Array<ArrayBuffer>)
    socket.onclose = () => this.#close()
    socket.onmessage = ({ data }: MessageEvent<ArrayBuffer>) => {
      if (this.#isClosed) return
      this.#isHeard = true
      handlers.arrived()
      try {
        reader.push(new Uint8Array(data))
      } catch (error) {
        this.#close()
        throw error
      }
    }
  }

  get isConnected(): boolean {
    return this.#isConnected && !this.#isClosed
  }

  /** Resolves with whether the hub accepts each of the filters; never when the connection ends before. */
  subscribe(filters: readonly string[]): Promise<readonly boolean[]> {
    const id = ++this.#lastId
    this.#socket.send(subscribePacket(id, filters) as Uint8Array<ArrayBuffer>)
    return new Promise(resolve => {
      this.#answers.set(id, granted => {
        this.#answers.delete(id)
        resolve(granted)
      })
    })
  }

  /** Ends the connection. */
  end(): void {
    if (this.isConnected && this.#socket.readyState === WebSocket.OPEN) this.#socket.send(disconnectPacket)
    this.#close()
  }

  #connack(code: number): void {
    if (code === 0) {
      clearTimeout(this.#late)
      this.#isConnected = true
      this.#pings = setInterval(() => this.#ping(), pingEvery)
      this.#handlers.connected()
      return
    }
    // 4: a wrong name or password; 5: not authorised (§3.2.2.3).
    this.#isRefused = code === 4 || code === 5
    this.#close()
  }

  #ping(): void {
    // The hub has not sent anything since the last ping, not even the answer.
    if (!this.#isHeard) this.#close()
    this.#isHeard = false
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(pingPacket)
  }

  #close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    clearTimeout(this.#late)
    clearInterval(this.#pings)
    this.#socket.close()
    this.#handlers.closed(this.#isRefused)
  }
}
