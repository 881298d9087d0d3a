import { connect, createServer, type Server, type Socket } from 'node:net'
import { createServer as createTlsServer } from 'node:tls'
import { BrokerLogin, type KafkaUser } from './kafka-login.js'

/*
 * A gate in front of one broker of Kafka passes bytes on, and does what that librdkafka's mock cluster does
 * not do:
 *
 * - Names the gates in place of the brokers, so that clients go through them, and names a controller.
 * - Answers CreateTopics, or refuses topics when told to.
 * - Refuses a batch of records that is larger than the topic takes, as a broker does.
 * - Drops the answer to a Produce request that was carried out: the client cannot know that.
 *
 * - Asks for a login (SASL), and speaks TLS, when it is told to.
 *
 * And the sequence numbers of the producers are read: a broker takes each batch only in order.
 */

const apis = {
  ...{ produce: 0, metadata: 3, findCoordinator: 10, saslHandshake: 17, apiVersions: 18, createTopics: 19 },
  saslAuthenticate: 36,
} as const

const errors = {
  ...{ messageTooLarge: 10, topicExists: 36, topicAuthorization: 29, unsupportedMechanism: 33, loginFailed: 58 },
} as const

/** What all gates of a cluster share. */
export interface GateRules {
  /** Port of the gate in front of the broker on a port; undefined: not one of the cluster. */
  gateOf(brokerPort: number): number | undefined
  /** Makes a topic; resolves with the error of Kafka, 0 for none. */
  createTopic(name: string, partitions: number, replication: number): Promise<number>
  /** Largest batch of records of a topic; undefined: any. */
  maxBatch(topic: string): number | undefined
  /** Whether the answer to the Produce request that comes now is to be dropped, with the connection. */
  dropsAnswer(): boolean
  onBatch(batch: ProducedBatch): void
  /** Undefined: nobody has to log in. */
  readonly user?: KafkaUser | undefined
  /** Certificate and key, as PEM. Undefined: no TLS. */
  readonly tls?: { readonly cert: string; readonly key: string } | undefined
}

/** A batch of records in a Produce request. */
export interface ProducedBatch {
  readonly topic: string
  readonly partition: number
  readonly producerId: bigint
  readonly firstSequence: number
  readonly count: number
  readonly bytes: number
}

export interface Gate {
  readonly port: number
  close(): Promise<void>
}

export async function openGate(brokerPort: number, rules: GateRules): Promise<Gate> {
  const sockets = new Set<Socket>()
  const take = (client: Socket) => {
    const broker = connect(brokerPort, '127.0.0.1')
    for (const one of [client, broker]) {
      sockets.add(one)
      one.setNoDelay(true)
      one.on('error', () => {})
      one.on('close', () => {
        sockets.delete(one)
        client.destroy()
        broker.destroy()
      })
    }
    pass(client, broker, rules)
  }
  const server: Server = rules.tls ? createTlsServer(rules.tls, take) : createServer(take)
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  return {
    port: typeof address === 'object' && address ? address.port : 0,
    close: async () => {
      for (const one of sockets) one.destroy()
      await new Promise(resolve => server.close(resolve))
    },
  }
}

function pass(client: Socket, broker: Socket, rules: GateRules): void {
  /** What was asked, by correlation id. */
  const asked = new Map<number, { readonly api: number; readonly version: number; readonly drops: boolean }>()
  const login = rules.user && new BrokerLogin(rules.user)
  const answer = (correlation: number, body: Buffer) => {
    const head = Buffer.alloc(8)
    head.writeInt32BE(body.length + 4, 0)
    head.writeInt32BE(correlation, 4)
    client.write(Buffer.concat([head, body]))
  }
  client.on(
    'data',
    frames(frame => {
      const api = frame.readInt16BE(4)
      const version = frame.readInt16BE(6)
      const correlation = frame.readInt32BE(8)
      const at = new Cursor(frame, 12)
      at.text()
      if (login && api === apis.saslHandshake) {
        const error = login.begin(at.text()) ? 0 : errors.unsupportedMechanism
        const names = BrokerLogin.mechanisms
        answer(correlation, Buffer.concat([int16(error), int32(names.length), ...names.map(text)]))
        return
      }
      if (login && api === apis.saslAuthenticate) {
        const said = login.step(at.bytes())
        const head = said ? [int16(0), int16(-1)] : [int16(errors.loginFailed), text('wrong name or password')]
        const life = version >= 1 ? [Buffer.alloc(8)] : []
        answer(correlation, Buffer.concat([...head, int32(said?.length ?? 0), said ?? Buffer.alloc(0), ...life]))
        return
      }
      if (login && !login.isDone && api !== apis.apiVersions) {
        client.destroy()
        return
      }
      if (api === apis.createTopics) {
        void created(at, rules).then(body => answer(correlation, body))
        return
      }
      if (api === apis.produce) {
        const tooLarge = produced(at, version, rules)
        if (tooLarge) {
          answer(correlation, tooLarge)
          return
        }
      }
      asked.set(correlation, { api, version, drops: api === apis.produce && rules.dropsAnswer() })
      broker.write(frame)
    }),
  )
  broker.on(
    'data',
    frames(frame => {
      const correlation = frame.readInt32BE(4)
      const { api, version, drops } = asked.get(correlation) ?? { api: -1, version: 0, drops: false }
      asked.delete(correlation)
      if (drops) {
        client.destroy()
        return
      }
      const body = frame.subarray(8)
      if (api === apis.metadata) answer(correlation, withGates(body, version, rules))
      else if (api === apis.findCoordinator) answer(correlation, coordinator(body, version, rules))
      else if (api === apis.apiVersions) answer(correlation, withMoreApis(body, login !== undefined))
      else client.write(frame)
    }),
  )
}

/** Calls back with each whole frame, with the length in front. */
function frames(take: (frame: Buffer) => void): (chunk: Buffer) => void {
  let rest: Buffer = Buffer.alloc(0)
  return chunk => {
    rest = rest.length > 0 ? Buffer.concat([rest, chunk]) : chunk
    while (rest.length >= 4 && rest.length >= rest.readInt32BE(0) + 4) {
      const end = rest.readInt32BE(0) + 4
      take(rest.subarray(0, end))
      rest = rest.subarray(end)
    }
  }
}

/** Reads the types of Kafka's protocol in the older, inflexible form. */
class Cursor {
  readonly #bytes: Buffer
  at: number

  constructor(bytes: Buffer, at = 0) {
    this.#bytes = bytes
    this.at = at
  }

  int16(): number {
    this.at += 2
    return this.#bytes.readInt16BE(this.at - 2)
  }

  int32(): number {
    this.at += 4
    return this.#bytes.readInt32BE(this.at - 4)
  }

  text(): string {
    const length = this.int16()
    if (length < 0) return ''
    this.at += length
    return this.#bytes.toString('utf8', this.at - length, this.at)
  }

  bytes(): Buffer {
    const length = this.int32()
    if (length < 0) return Buffer.alloc(0)
    this.at += length
    return this.#bytes.subarray(this.at - length, this.at)
  }
}

const int16 = (value: number) => {
  const bytes = Buffer.alloc(2)
  bytes.writeInt16BE(value)
  return bytes
}

const int32 = (value: number) => {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32BE(value)
  return bytes
}

const text = (value: string) => Buffer.concat([int16(Buffer.byteLength(value)), Buffer.from(value)])

/** Metadata: a gate in place of each broker, and the first one as controller. */
function withGates(body: Buffer, version: number, rules: GateRules): Buffer {
  const at = new Cursor(body)
  if (version >= 3) at.int32()
  const parts = [body.subarray(0, at.at)]
  const count = at.int32()
  parts.push(int32(count))
  let controller = 0
  for (let i = 0; i < count; i++) {
    const id = at.int32()
    controller ||= id
    const host = at.text()
    const port = at.int32()
    parts.push(int32(id), text(host), int32(rules.gateOf(port) ?? port))
    const from = at.at
    if (version >= 1) at.text()
    parts.push(body.subarray(from, at.at))
  }
  const from = at.at
  if (version >= 2) at.text()
  parts.push(body.subarray(from, at.at))
  if (version >= 1) {
    at.int32()
    parts.push(int32(controller))
  }
  parts.push(body.subarray(at.at))
  return Buffer.concat(parts)
}

function coordinator(body: Buffer, version: number, rules: GateRules): Buffer {
  const at = new Cursor(body)
  if (version >= 1) at.int32()
  at.int16()
  if (version >= 1) at.text()
  at.int32()
  at.text()
  const before = body.subarray(0, at.at)
  const port = at.int32()
  return Buffer.concat([before, int32(rules.gateOf(port) ?? port), body.subarray(at.at)])
}

/** ApiVersions: the brokers know CreateTopics in versions 0 to 2, too, and with a login what SASL takes. */
function withMoreApis(body: Buffer, hasLogin: boolean): Buffer {
  const more: readonly (readonly [api: number, max: number])[] = [
    [apis.createTopics, 2],
    ...(hasLogin
      ? ([
          [apis.saslHandshake, 1],
          [apis.saslAuthenticate, 1],
        ] as const)
      : []),
  ]
  const at = new Cursor(body)
  const error = at.int16()
  const count = at.int32()
  const known: Buffer[] = []
  for (let i = 0; i < count; i++, at.at += 6) {
    const one = body.subarray(at.at, at.at + 6)
    if (!more.some(([api]) => api === one.readInt16BE(0))) known.push(one)
  }
  for (const [api, max] of more) known.push(Buffer.concat([int16(api), int16(0), int16(max)]))
  return Buffer.concat([int16(error), int32(known.length), ...known, body.subarray(at.at)])
}

/** CreateTopics version 2. */
async function created(at: Cursor, rules: GateRules): Promise<Buffer> {
  const results: Buffer[] = []
  const topics = at.int32()
  for (let i = 0; i < topics; i++) {
    const name = at.text()
    const partitions = at.int32()
    const replication = at.int16()
    const assignments = at.int32()
    if (assignments > 0) throw new Error('assignments are not understood here')
    for (let settings = at.int32(); settings > 0; settings--) {
      at.text()
      at.text()
    }
    results.push(text(name), int16(await rules.createTopic(name, partitions, replication)), int16(-1))
  }
  return Buffer.concat([int32(0), int32(topics), ...results])
}

/** Reads a Produce request. Returns the answer when a batch is too large, and nothing is to be passed on. */
function produced(at: Cursor, version: number, rules: GateRules): Buffer | undefined {
  if (version >= 3) at.text()
  at.int16()
  at.int32()
  const answers: Buffer[] = []
  let isTooLarge = false
  const topics = at.int32()
  answers.push(int32(topics))
  for (let i = 0; i < topics; i++) {
    const topic = at.text()
    const partitions = at.int32()
    answers.push(text(topic), int32(partitions))
    for (let j = 0; j < partitions; j++) {
      const partition = at.int32()
      const batch = at.bytes()
      const isLarge = batch.length > (rules.maxBatch(topic) ?? Number.POSITIVE_INFINITY)
      if (isLarge) isTooLarge = true
      else if (batch.length >= 61)
        // RecordBatch v2: base offset 8, length 4, epoch 4, magic 1, crc 4, attributes 2, last offset 4, times 16.
        rules.onBatch({
          ...{ topic, partition, bytes: batch.length },
          producerId: batch.readBigInt64BE(43),
          firstSequence: batch.readInt32BE(53),
          count: batch.readInt32BE(57),
        })
      answers.push(
        int32(partition),
        int16(isLarge ? errors.messageTooLarge : 0),
        Buffer.alloc(8, 255),
        Buffer.alloc(8, 255),
      )
      if (version >= 5) answers.push(Buffer.alloc(8, 255))
    }
  }
  answers.push(int32(0))
  return isTooLarge ? Buffer.concat(answers) : undefined
}

export { errors as kafkaErrors }
