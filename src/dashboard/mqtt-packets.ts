/**
 * The packets of MQTT 3.1.1 of a client that only reads at QoS 0 (OASIS MQTT 3.1.1 §2, §3). Pure functions. The library for all
 * of MQTT is 106 kB compressed, half of what a first visit loads; this is 2 kB, and all that the page needs.
 */

const encoder = new TextEncoder()
const decoder = new TextDecoder()

/** Types of packets, as the first four bits of a packet have them (§2.2.1). */
const types = { connect: 1, connack: 2, publish: 3, subscribe: 8, suback: 9, pingreq: 12, pingresp: 13, disconnect: 14 }

/** Seconds after which the hub takes a silent client for gone, the half of them again included (§3.1.2.10). */
export const keepAlive = 60

/** Login of a client; without a name there is none. */
export interface Login {
  readonly clientId: string
  readonly username?: string | undefined
  readonly password?: string | undefined
}

/** Returns a CONNECT with a clean session. */
export function connectPacket({ clientId, username, password }: Login): Uint8Array {
  const flags = 0b10 | (username === undefined ? 0 : 0x80) | (password === undefined ? 0 : 0x40)
  const parts = [text('MQTT'), Uint8Array.of(4, flags, keepAlive >> 8, keepAlive & 0xff), text(clientId)]
  if (username !== undefined) parts.push(text(username))
  if (password !== undefined) parts.push(text(password))
  return packet(types.connect << 4, parts)
}

/** Returns a SUBSCRIBE to topic filters at QoS 0. `id`: 1 to 65,535. */
export function subscribePacket(id: number, filters: readonly string[]): Uint8Array {
  const asked = filters.flatMap(filter => [text(filter), Uint8Array.of(0)])
  return packet((types.subscribe << 4) | 2, [Uint8Array.of(id >> 8, id & 0xff), ...asked])
}

export const pingPacket = Uint8Array.of(types.pingreq << 4, 0)
export const disconnectPacket = Uint8Array.of(types.disconnect << 4, 0)

/** Receiver of what a hub sends. */
export interface PacketHandlers {
  /** Called with the return code of a CONNACK; 0: accepted (§3.2.2.3). */
  connack(code: number): void
  /** Called with the answers of a SUBACK, in the order of the filters: whether each was accepted. */
  suback(id: number, granted: readonly boolean[]): void
  /** Called with each message. The payload is valid only during the call. */
  message(topic: string, payload: Uint8Array, retained: boolean): void
}

/** Cuts bytes, which may begin and end anywhere, into packets. */
export class PacketReader {
  readonly #handlers: PacketHandlers
  /** The beginning of a packet whose end has not come, in parts: a long packet is put together once. */
  #parts: Uint8Array[] = []
  #bytes = 0
  /** Least bytes that must be there before it is worth to look again. */
  #wanted = 0

  constructor(handlers: PacketHandlers) {
    this.#handlers = handlers
  }

  /** Takes bytes. Throws when they are no MQTT, or what a client never gets; nothing after that can be read. */
  push(bytes: Uint8Array): void {
    this.#parts.push(bytes)
    this.#bytes += bytes.length
    if (this.#bytes < this.#wanted) return
    const all = this.#parts.length === 1 ? bytes : joined(this.#parts, this.#bytes)
    this.#wanted = 0
    let at = 0
    while (at < all.length) {
      const header = headerAt(all, at)
      const end = header && header.begin + header.length
      if (end === undefined || end > all.length) {
        this.#wanted = end === undefined ? 0 : end - at
        break
      }
      this.#take(all[at] as number, all.subarray(header?.begin, end))
      at = end
    }
    this.#parts = at < all.length ? [all.subarray(at)] : []
    this.#bytes = all.length - at
  }

  #take(first: number, body: Uint8Array): void {
    const type = first >> 4
    if (type === types.publish) {
      const begin = 2 + shortAt(body, 0)
      // Only QoS 0 was asked for, so that there is no packet identifier.
      if ((first & 0b110) !== 0 || begin > body.length) throw new Error('a PUBLISH that was not asked for')
      const topic = decoder.decode(body.subarray(2, begin))
      this.#handlers.message(topic, body.subarray(begin), (first & 1) === 1)
    } else if (type === types.connack) this.#handlers.connack(body[1] ?? 255)
    else if (type === types.suback) {
      const granted = [...body.subarray(2)].map(code => code < 0x80)
      this.#handlers.suback(shortAt(body, 0), granted)
    } else if (type !== types.pingresp) throw new Error(`a packet of type ${type}`)
  }
}

/** Returns where the body of a packet begins and how long that is; undefined: the header is not complete (§2.2.3). */
function headerAt(bytes: Uint8Array, at: number): { readonly begin: number; readonly length: number } | undefined {
  let length = 0
  for (let i = 0; i < 4; i++) {
    const byte = bytes[at + 1 + i]
    if (byte === undefined) return undefined
    length += (byte & 0x7f) * 128 ** i
    if (byte < 0x80) return { begin: at + 2 + i, length }
  }
  throw new Error('a length of more than four bytes')
}

function shortAt(bytes: Uint8Array, at: number): number {
  return ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0)
}

/** A text with the length in front (§1.5.3). */
function text(of: string): Uint8Array {
  const bytes = encoder.encode(of)
  if (bytes.length > 65_535) throw new RangeError('a text of more than 65,535 bytes')
  return joined([Uint8Array.of(bytes.length >> 8, bytes.length & 0xff), bytes], bytes.length + 2)
}

function packet(first: number, parts: readonly Uint8Array[]): Uint8Array {
  const length = parts.reduce((sum, part) => sum + part.length, 0)
  const header = [first]
  let rest = length
  do {
    header.push((rest % 128) | (rest > 127 ? 0x80 : 0))
    rest = Math.floor(rest / 128)
  } while (rest > 0)
  return joined([Uint8Array.from(header), ...parts], header.length + length)
}

function joined(parts: readonly Uint8Array[], length: number): Uint8Array {
  const all = new Uint8Array(length)
  let at = 0
  for (const part of parts) {
    all.set(part, at)
    at += part.length
  }
  return all
}
