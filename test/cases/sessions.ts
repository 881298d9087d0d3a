import fs, { copyFileSync, mkdirSync, readdirSync } from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { join } from 'node:path'
import type { Queued } from '../../src/broker/delivery.js'
import { packetType } from '../../src/broker/fields.js'
import { Framer } from '../../src/broker/framer.js'
import { Mqtt3 } from '../../src/broker/packets.js'
import { type EncodedPublish, PublishReader } from '../../src/broker/publish.js'
import type { Session } from '../../src/broker/session.js'
import type { Outlet, QueueLimits } from '../../src/broker/session-host.js'
import type { LastWill, Published } from '../../src/broker/session-state.js'
import { Sessions } from '../../src/broker/sessions.js'
import type { Opening, SessionsOptions } from '../../src/broker/sessions-options.js'
import type { Sending } from '../../src/broker/wire.js'
import { Work } from '../../src/broker/work.js'
import { tempDir } from '../services/service.js'

export const queueLimits: QueueLimits = { window: 100, messages: 100_000, bytes: 64e6, ageMs: 0 }

/** Sessions of a folder, with the limits that hubs have unless a test says otherwise; their clock stands still. */
export async function openSessions(dir: string, more: Partial<SessionsOptions> = {}): Promise<Sessions> {
  const sessions = new Sessions({
    work: new Work(),
    dir,
    fsync: 'group',
    queue: queueLimits,
    queueMemory: 1e9,
    pace: { journalBytes: 2e6, sliceMs: 4 },
    isExpected: () => false,
    incidents: { report: () => {} },
    sessions: 100_000,
    sessionAgeMs: 0,
    retained: { messages: 1_000_000, bytes: 256e6 },
    now: () => 1_000_000,
    dropped: () => {},
    willDue: (_will, done) => done(false),
    warn: () => {},
    ...more,
  })
  await sessions.load()
  return sessions
}

/** What is on disk in `dir` once all of it is there, opened as after a crash. The first ones are of no use any more. */
export async function crash(
  sessions: Sessions,
  dir: string,
  to: string,
  more: Partial<SessionsOptions> = {},
): Promise<Sessions> {
  await sessions.flush()
  copyFiles(dir, to)
  await sessions.stop()
  return openSessions(to, more)
}

export function copyFiles(dir: string, to: string): void {
  mkdirSync(to, { recursive: true })
  for (const name of readdirSync(dir)) copyFileSync(join(dir, name), join(to, name))
}

export function message(topic: string, more: Partial<Published> = {}): Published {
  return { topic, payload: Buffer.from(`payload of ${topic}`), qos: 1, retain: false, clientId: 'publisher', ...more }
}

export function will(clientId: string, more: Partial<LastWill> = {}): LastWill {
  return { ...message('will', { clientId }), delay: 0, expiry: undefined, ...more }
}

/** A session as MQTT 3.1.1 knows it: kept, or not. */
export const kept: Opening = { clean: false, expiry: Number.POSITIVE_INFINITY }
export const passing: Opening = { clean: true, expiry: 0 }

export interface Sent {
  readonly topic: string
  readonly payload: string
  readonly qos: 0 | 1 | 2
  readonly packetId: number
  readonly retain: boolean
  readonly dup: boolean
}

const reader = new PublishReader()
const mqtt311 = new Mqtt3(4)

/** A connection that notes what is written to it. */
export class Wire implements Outlet {
  /** Publishes it takes until it is full. */
  room = Number.POSITIVE_INFINITY
  readonly publishes: Sent[] = []
  #lines: string[] = []

  get roomy(): boolean {
    return this.room > 0
  }

  receiveMaximum = 65_535

  /** QoS 0 finds no room. */
  isFull = false

  offer(encoded: EncodedPublish, retain: boolean): boolean {
    if (this.isFull) return false
    this.#read(Buffer.concat(mqtt311.publish(encoded, { qos: 0, packetId: 0, retain, ids: undefined }, false)))
    return true
  }

  publish(encoded: EncodedPublish, sending: Sending, dup: boolean): boolean {
    this.#read(Buffer.concat(mqtt311.publish(encoded, sending, dup)))
    return true
  }

  end(): void {
    this.#lines.push('end')
  }

  writeAck(type: number, packetId: number): void {
    const name = type === packetType.pubrel ? 'pubrel' : `type ${type}`
    this.#lines.push(`${name} #${packetId}`)
  }

  /** Packets written since the last `take`. */
  get written(): number {
    return this.#lines.length
  }

  /** What was written since the last call: `topic q1 #7 dup retain`, `pubrel #7`. */
  take(): string[] {
    const lines = this.#lines
    this.#lines = []
    return lines
  }

  #read(bytes: Buffer): void {
    this.room--
    const framer = new Framer(1e9)
    framer.push(bytes)
    if (!framer.next() || framer.end !== framer.buffer.length) throw new Error('not one whole packet')
    reader.read(framer.header, framer.buffer, framer.start, framer.end)
    const { topic, qos, packetId, retain, dup } = reader
    const payload = framer.buffer.toString('latin1', reader.payloadStart, framer.end)
    this.publishes.push({ topic, payload, qos, packetId, retain, dup })
    const id = qos > 0 ? ` #${packetId}` : ''
    this.#lines.push(`${topic} q${qos}${id}${dup ? ' dup' : ''}${retain ? ' retain' : ''}`)
  }
}

/** A client that stays away: its session, with these subscriptions. */
export function absent(sessions: Sessions, clientId: string, subscriptions: Readonly<Record<string, 0 | 1 | 2>> = {}) {
  const { session } = sessions.open(clientId, kept)
  for (const [filter, qos] of Object.entries(subscriptions)) sessions.subscribe(session, { filter, qos })
  sessions.leave(session)
  return session
}

/** A client that is there, and its connection. */
export function present(
  sessions: Sessions,
  clientId: string,
  subscriptions: Readonly<Record<string, 0 | 1 | 2>> = {},
  clean = false,
  receiveMaximum = 65_535,
): { session: Session; wire: Wire } {
  const { session } = sessions.open(clientId, clean ? passing : kept)
  const wire = new Wire()
  wire.receiveMaximum = receiveMaximum
  session.attach(wire)
  for (const [filter, qos] of Object.entries(subscriptions)) sessions.subscribe(session, { filter, qos })
  return { session, wire }
}

export function topicsOf(entries: Iterable<Queued>): string[] {
  return [...entries].map(({ topic }) => topic)
}

/** All that is to outlive the connections, in a form to compare. */
export function stateOf(sessions: Sessions) {
  const queued = ({ topic, payload, qos, retain, clientId, at, packetId, released, ids }: Queued) =>
    `${topic} ${payload.length} ${payload.toString('latin1', 0, 50)} ${qos} ${retain} ${clientId} ${at} ${packetId} ${released}${ids ? ` ids ${ids}` : ''}`
  return {
    sessions: [...sessions.all()]
      .map(({ clientId, subscriptions, inflight, unsent, incoming }) => ({
        clientId,
        subscriptions: [...subscriptions.values()].map(({ filter, qos }) => `${filter} ${qos}`).sort(),
        inflight: [...inflight.values()].map(queued),
        unsent: [...unsent].map(queued),
        incoming: [...incoming.keys()].sort((a, b) => a - b),
      }))
      .sort((a, b) => (a.clientId < b.clientId ? -1 : 1)),
    retained: [...sessions.retainedBy('#')]
      .map(({ topic, payload, qos, clientId }) => `${topic} ${payload.toString('latin1')} ${qos} ${clientId}`)
      .sort(),
    wills: sessions.wills
      .all()
      .map(({ clientId, topic, payload, qos, retain }) => `${clientId} ${topic} ${payload} ${qos} ${retain}`)
      .sort(),
    subscriptions: sessions.counts.subscriptions,
  }
}

/** Leaves something of every kind. */
export function fill(sessions: Sessions): Session {
  const { session } = present(sessions, 'c', { 'a/#': 2, b: 0 })
  sessions.publish(message('a/1', { retain: true }), 1)
  sessions.publish(message('a/2', { qos: 2 }), 2)
  sessions.publish(message('a/3', { qos: 2 }), 3)
  sessions.publish(message('b'), 4)
  session.acknowledge(1)
  session.received(2)
  sessions.leave(session)
  sessions.publish(message('a/4', { clientId: '' }), 5)
  sessions.publish(message('a/5', { qos: 2 }), 6)
  sessions.committed(6)
  sessions.wills.put(will('__proto__', { qos: 2, retain: true }))
  sessions.wills.put(will('gone'))
  sessions.wills.delete('gone')
  sessions.received(session, 5)
  sessions.received(session, 6)
  sessions.release(session, 6, () => {})
  sessions.publish(message('$hub/last/a/1', { retain: true, qos: 0 }), 0)
  sessions.publish(message('$hub/why/c', { retain: true, qos: 0 }), 0)
  sessions.publish(message('cleared', { retain: true, qos: 0 }), 0)
  sessions.publish(message('cleared', { retain: true, qos: 0, payload: Buffer.alloc(0) }), 0)
  return session
}

/** The newest journal, and the newest snapshot. */
export const journalOf = (dir: string) => newest(dir, '.journal')
export const snapshotOf = (dir: string) => newest(dir, '.snapshot')

function newest(dir: string, end: string): string {
  const name = readdirSync(dir)
    .sort()
    .findLast(name => name.endsWith(end))
  return join(dir, name as string)
}

/** Takes incidents, and what they say. */
export function reports() {
  const reported: string[] = []
  return { reported, incidents: { report: (_kind: string, sentence: string) => void reported.push(sentence) } }
}

/** A folder of folders: each call names a new one, to open sessions in or for what a crash leaves of them. */
export async function folders(): Promise<() => string> {
  const dir = await tempDir()
  let n = 0
  return () => join(dir, String(++n))
}

/** Until it is restored the disk takes nothing, as when it is full. */
export function refuseWrites(): { restore(): void } {
  const { write, writeSync } = fs
  const full = () => Object.assign(new Error('no space left on device'), { code: 'ENOSPC' })
  const refused = (...given: unknown[]) => setImmediate(given.at(-1) as (error: Error) => void, full())
  const thrown = () => {
    throw full()
  }
  const put = (one: unknown, sync: unknown) => {
    Object.assign(fs, { write: one, writeSync: sync })
    syncBuiltinESMExports()
  }
  put(refused, thrown)
  return { restore: () => put(write, writeSync) }
}
