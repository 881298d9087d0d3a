import { fork } from 'node:child_process'
import { connect, type Socket } from 'node:net'
import { fileURLToPath } from 'node:url'

/** What one run of the load generator is asked for. */
export interface Load {
  readonly port: number
  readonly publishers: number
  /** Publishes of one publisher that may wait for their PUBACK. */
  readonly window: number
  readonly payloadBytes: number
  /** Before counting begins: connections, caches and compilers settle. */
  readonly warmUpMs: number
  readonly durationMs: number
}

export interface LoadResult {
  readonly acknowledged: number
  readonly seconds: number
}

/** Runs a load in a process of its own, so that it takes no time from what is measured other than the machine's. */
export function runLoad(load: Load): Promise<LoadResult> {
  const child = fork(fileURLToPath(import.meta.url), [], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
  return new Promise((resolve, reject) => {
    child.once('message', result => resolve(result as LoadResult))
    child.once('error', reject)
    child.once('exit', code => reject(new Error(`the load generator ended early (exit ${code}); its reason is above`)))
    child.send(load)
  })
}

/** MQTT 3.1.1 CONNECT, clean session, no keep-alive. */
export function connectPacket(clientId: string): Buffer {
  const id = Buffer.from(clientId)
  return Buffer.concat([
    Buffer.from([0x10, 12 + id.length, 0, 4]),
    Buffer.from('MQTT'),
    Buffer.from([4, 2, 0, 0, 0, id.length]),
    id,
  ])
}

/** A PUBLISH of QoS 1; the packet identifier is at {@link identifierOffset}. */
export function publishPacket(topic: string, payload: Buffer): Buffer {
  const name = Buffer.from(topic)
  let rest = 2 + name.length + 2 + payload.length
  const length: number[] = []
  do {
    length.push((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0))
    rest >>= 7
  } while (rest > 0)
  return Buffer.concat([
    Buffer.from([0x32, ...length, name.length >> 8, name.length & 0xff]),
    name,
    Buffer.from([0, 0]),
    payload,
  ])
}

/** Sends its window as one prepared write, then one packet for every PUBACK: all packets are encoded beforehand. */
class Publisher {
  acknowledged = 0
  readonly #socket: Socket
  readonly #packets: Buffer[]
  #rest: Buffer = Buffer.alloc(0)
  #connected = false

  constructor({ port, window, payloadBytes }: Load, n: number, onFailure: (error: Error) => void) {
    const topic = `bench/floor-${n % 10}/meter-${n}/telemetry`
    const reading = `{"power":${1_000 + n}.5,"voltage":230.1,"note":"`
    const payload = Buffer.from(`${reading}${'x'.repeat(Math.max(0, payloadBytes - reading.length - 2))}"}`)
    const template = publishPacket(topic, payload)
    this.#packets = Array.from({ length: window }, (_, i) => {
      const packet = Buffer.from(template)
      packet.writeUInt16BE(i + 1, packet.length - payload.length - 2)
      return packet
    })
    this.#socket = connect({ port, host: '127.0.0.1', noDelay: true })
    this.#socket.on('error', onFailure)
    this.#socket.on('close', () => onFailure(new Error('the broker closed a connection')))
    this.#socket.on('data', chunk => this.#read(chunk, onFailure))
    this.#socket.write(connectPacket(`bench-${n}`))
  }

  end(): void {
    this.#socket.removeAllListeners('close')
    this.#socket.destroy()
  }

  /** CONNACK and PUBACK are both four bytes long, so packets are told apart without a parser. */
  #read(chunk: Buffer, onFailure: (error: Error) => void): void {
    const data = this.#rest.length > 0 ? Buffer.concat([this.#rest, chunk]) : chunk
    const whole = data.length - (data.length % 4)
    this.#rest = data.subarray(whole)
    const next: Buffer[] = []
    for (let at = 0; at < whole; at += 4) {
      const type = data[at]
      if (type === 0x40) {
        this.acknowledged++
        next.push(this.#packets[data.readUInt16BE(at + 2) - 1] as Buffer)
      } else if (type === 0x20 && data[at + 3] === 0 && !this.#connected) {
        this.#connected = true
        next.push(...this.#packets)
      } else onFailure(new Error(`an answer that was not expected: ${data.subarray(at, at + 4).toString('hex')}`))
    }
    if (next.length === 1) this.#socket.write(next[0] as Buffer)
    else if (next.length > 1) this.#socket.write(Buffer.concat(next))
  }
}

async function generate(load: Load): Promise<LoadResult> {
  return new Promise((resolve, reject) => {
    const publishers = Array.from({ length: load.publishers }, (_, n) => new Publisher(load, n, reject))
    const sum = () => publishers.reduce((total, publisher) => total + publisher.acknowledged, 0)
    setTimeout(() => {
      const before = sum()
      const startedAt = performance.now()
      setTimeout(() => {
        const result = { acknowledged: sum() - before, seconds: (performance.now() - startedAt) / 1_000 }
        for (const publisher of publishers) publisher.end()
        resolve(result)
      }, load.durationMs)
    }, load.warmUpMs)
  })
}

if (process.send && process.argv[1] === fileURLToPath(import.meta.url)) {
  process.once('message', load => {
    generate(load as Load).then(
      result => process.send?.(result, () => process.exit(0)),
      error => {
        process.stderr.write(`load: ${(error as Error).message}\n`)
        process.exit(1)
      },
    )
  })
  process.once('disconnect', () => process.exit(1))
}
