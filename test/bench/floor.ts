import { createHash } from 'node:crypto'
import { createServer, type Socket } from 'node:net'
import { encodeFrame, frame, PacketScanner, pastProperties, publishPacket, type Version } from './wire.js'

/*
 * The least Node can do: finds packets in the bytes, acknowledges a PUBLISH of QoS 1, passes every PUBLISH on to every
 * subscriber at QoS 0. No sessions, no filters, no disk; who subscribes speaks the version of who publishes. What a
 * broker does costs the difference to this. TCP and WebSocket on one port. Prints its port; ends when its parent does.
 */

const connack: Readonly<Record<Version, Buffer>> = {
  4: Buffer.from([0x20, 2, 0, 0]),
  5: Buffer.from([0x20, 3, 0, 0, 0]),
}

/** Bytes that may wait for a subscriber before no publisher is read. */
const outboxBytes = 1_000_000

const sockets = new Set<Peer>()
const subscribers = new Set<Peer>()

class Peer {
  readonly #socket: Socket
  #webSocket = false
  #version: Version = 4
  #publishes = false
  #answers: Buffer[] = []
  #passedOn: Buffer[] = []
  #rest: Buffer = Buffer.alloc(0)
  readonly #packets = new PacketScanner((data, start, body, end) => this.#packet(data, start, body, end))

  constructor(socket: Socket) {
    this.#socket = socket
    sockets.add(this)
    socket.on('error', () => socket.destroy())
    socket.on('close', () => {
      sockets.delete(this)
      subscribers.delete(this)
      resume()
    })
    socket.on('drain', resume)
    socket.once('data', chunk => {
      if (chunk[0] === 0x47) this.#upgrade(chunk)
      else {
        this.#take(chunk)
        socket.on('data', next => this.#take(next))
      }
    })
  }

  get full(): boolean {
    return this.#socket.writableLength > outboxBytes
  }

  pause(): void {
    if (this.#publishes) this.#socket.pause()
  }

  resume(): void {
    if (this.#publishes) this.#socket.resume()
  }

  /** Packets, and the same as a frame. */
  send(packets: Buffer, framed: () => Buffer): void {
    this.#socket.write(this.#webSocket ? framed() : packets)
  }

  #take(chunk: Buffer): void {
    this.#packets.take(chunk, 0, chunk.length)
    if (this.#answers.length > 0) {
      const answers = joined(this.#answers)
      this.#answers = []
      this.send(answers, () => encodeFrame(frame.binary, answers, false))
    }
    if (this.#passedOn.length > 0) {
      const packets = joined(this.#passedOn)
      this.#passedOn = []
      let made: Buffer | undefined
      const framed = () => {
        made ??= encodeFrame(frame.binary, packets, false)
        return made
      }
      for (const subscriber of subscribers) subscriber.send(packets, framed)
      if (anyFull()) for (const peer of sockets) peer.pause()
    }
  }

  #packet(data: Buffer, start: number, body: number, end: number): void {
    const first = data[start] as number
    const type = first >> 4
    if (type === 1) {
      if (data[body + 6] === 5) this.#version = 5
      this.#answers.push(connack[this.#version])
    } else if (type === 8) {
      subscribers.add(this)
      this.#answers.push(suback(data, body, end, this.#version))
    } else if (type === 3) {
      this.#publishes = true
      const identifier = body + 2 + data.readUInt16BE(body)
      if ((first & 6) !== 0) {
        this.#answers.push(Buffer.from([0x40, 2, data[identifier] as number, data[identifier + 1] as number]))
      }
      if (subscribers.size === 0) return
      if ((first & 6) === 0) this.#passOn(data, start, end)
      else {
        const topic = data.toString('utf8', body + 2, identifier)
        const payload = this.#version === 5 ? pastProperties(data, identifier + 2) : identifier + 2
        this.#passedOn.push(publishPacket(topic, data.subarray(payload, end), 0, 0, this.#version))
      }
    }
  }

  /** Packets that lie side by side go on in one piece. */
  #passOn(data: Buffer, start: number, end: number): void {
    const last = this.#passedOn.at(-1)
    if (last && last.buffer === data.buffer && last.byteOffset + last.length === data.byteOffset + start) {
      this.#passedOn[this.#passedOn.length - 1] = data.subarray(start - last.length, end)
    } else this.#passedOn.push(data.subarray(start, end))
  }

  /** RFC 6455 §4.2.2; the client's frames are masked with anything. */
  #upgrade(request: Buffer): void {
    const key = /^Sec-WebSocket-Key: (\S+)\r$/m.exec(request.toString('latin1'))?.[1] ?? ''
    const accept = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64')
    this.#webSocket = true
    this.#socket.write(
      'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
        `Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
    )
    this.#socket.on('data', chunk => this.#unframe(chunk))
  }

  #unframe(chunk: Buffer): void {
    let data = this.#rest.length > 0 ? Buffer.concat([this.#rest, chunk]) : chunk
    for (;;) {
      const short = data.length < 2 ? 0 : (data[1] as number) & 0x7f
      const head = (short < 126 ? 2 : 4) + 4
      if (short === 127) this.#socket.destroy()
      if (data.length < head || short === 127) break
      const end = head + (short < 126 ? short : data.readUInt16BE(2))
      if (data.length < end) break
      const payload = Buffer.from(data.subarray(head, end))
      for (let i = 0; i < payload.length; i++)
        payload[i] = (payload[i] as number) ^ (data[head - 4 + (i % 4)] as number)
      if (((data[0] as number) & 0xf) === frame.binary) this.#take(payload)
      data = data.subarray(end)
    }
    this.#rest = Buffer.from(data)
  }
}

/** All filters granted at QoS 0. */
function suback(data: Buffer, body: number, end: number, version: Version): Buffer {
  let filters = 0
  const from = version === 5 ? pastProperties(data, body + 2) : body + 2
  for (let at = from; at < end; at += 3 + data.readUInt16BE(at)) filters++
  // Of zeros are the codes, and before them in MQTT 5 the length of no properties.
  const zeros = Buffer.alloc(version === 5 ? filters + 1 : filters)
  return Buffer.concat([Buffer.from([0x90, 2 + zeros.length]), data.subarray(body, body + 2), zeros])
}

function joined(parts: readonly Buffer[]): Buffer {
  return parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts)
}

function anyFull(): boolean {
  for (const subscriber of subscribers) if (subscriber.full) return true
  return false
}

function resume(): void {
  if (!anyFull()) for (const peer of sockets) peer.resume()
}

const server = createServer({ noDelay: true }, socket => void new Peer(socket))
server.listen({ port: 0, host: '127.0.0.1', backlog: 4_096 }, () => {
  const address = server.address()
  if (address && typeof address === 'object') process.send?.(address.port)
})
process.once('disconnect', () => process.exit(0))
