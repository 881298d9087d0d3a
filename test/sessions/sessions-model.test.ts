import { rmSync } from 'node:fs'
import t from 'tap'
import type { QoS } from '../../src/model.js'
import type { Sessions } from '../../src/sessions/sessions.js'
import type { SessionsOptions } from '../../src/sessions/sessions-options.js'
import { matches } from '../../src/topics.js'
import { Random } from '../fixtures/packets.js'
import {
  clearIncoming,
  crash,
  folders,
  kept,
  message,
  openSessions,
  passing,
  snapshotOf,
  stateOf,
  Wire,
  will,
} from '../fixtures/sessions.js'

/*
 * Whatever clients do, and whenever the hub crashes: the sessions do as a few arrays do. The same steps again:
 * MODEL_SEED=… node dist/test/broker/sessions-model.test.js; longer: MODEL_STEPS=….
 */

const seeds = process.env.MODEL_SEED ? [Number(process.env.MODEL_SEED)] : [1, 2, 3, 4, 5, 6]
const steps = Number(process.env.MODEL_STEPS ?? 2_000)

const limits = { window: 3, messages: 6, bytes: 1e9, ageMs: 400 }
const mostSessions = 4
const sessionAgeMs = 1_000
const mostRetained = 4

const clientIds = ['a', 'b', 'c', 'constructor', '__proto__', '']
const topics = ['x', 'x/y', 'x/z', 'y/x', '', 'x/$y', 'x//y'].map(topic => `t${topic}`)
const filters = ['#', 'tx/#', 'tx/+', '+/x', 'tx', 'tx/y', '+', 'tx/+/y', 'ty/#', '+/+']

interface Entry {
  readonly topic: string
  readonly payload: string
  readonly qos: 1 | 2
  readonly at: number
  packetId: number
  released: boolean
}

interface ModelSession {
  readonly clientId: string
  readonly durable: boolean
  readonly subscriptions: Map<string, QoS>
  readonly sent: Entry[]
  readonly unsent: Entry[]
  readonly incoming: Set<number>
  wire: Wire | undefined
  since: number
  /** What is to be written to its connection. */
  expected: string[]
}

class Model {
  /** In the order they came to be. */
  readonly durable = new Map<string, ModelSession>()
  readonly clean = new Map<string, ModelSession>()
  readonly retained = new Map<string, string>()
  readonly wills = new Map<string, string>()
  readonly dropped: string[] = []
  now = 10_000

  all(): ModelSession[] {
    return [...this.durable.values(), ...this.clean.values()]
  }

  connect(clientId: string, clean: boolean): { session: ModelSession; present: boolean } {
    const known = clean ? undefined : this.durable.get(clientId)
    const session: ModelSession = known ?? {
      clientId,
      durable: !clean,
      subscriptions: new Map(),
      sent: [],
      unsent: [],
      incoming: new Set(),
      wire: undefined,
      since: 0,
      expected: [],
    }
    session.since = 0
    if (clean) {
      this.durable.delete(clientId)
      this.clean.set(clientId, session)
    } else if (!known) {
      this.durable.set(clientId, session)
      session.wire = new Wire()
      this.makeRoom()
    }
    return { session, present: known !== undefined }
  }

  attach(session: ModelSession, wire: Wire): void {
    session.wire = wire
    for (const { released, packetId } of session.sent) if (released) session.expected.push(`pubrel #${packetId}`)
    for (const entry of session.sent) if (!entry.released) session.expected.push(line(entry, ' dup'))
    this.pump(session)
  }

  leave(session: ModelSession): void {
    session.wire = undefined
    session.since = this.now
    if (!session.durable) this.clean.delete(session.clientId)
    session.expected = []
  }

  absent(): ModelSession[] {
    return [...this.durable.values()].filter(({ wire }) => !wire).sort((a, b) => a.since - b.since)
  }

  makeRoom(): void {
    for (const { clientId } of this.absent()) {
      if (this.durable.size <= mostSessions) return
      this.durable.delete(clientId)
      this.dropped.push(`sessions ${clientId}`)
    }
  }

  expire(): void {
    for (const { clientId, since } of this.absent()) {
      if (this.now - since < sessionAgeMs) break
      this.durable.delete(clientId)
      this.dropped.push(`session_age ${clientId}`)
    }
    for (const session of this.absent()) this.dropOld(session)
  }

  retain(topic: string, payload: string): void {
    if (payload === '') this.retained.delete(topic)
    else if (!this.retained.has(topic) && this.retained.size >= mostRetained) this.dropped.push('retained p')
    else this.retained.set(topic, payload)
  }

  publish(topic: string, payload: string, qos: QoS): void {
    for (const session of this.all()) {
      const granted = [...session.subscriptions].filter(([filter]) => matches(filter, topic)).map(([, qos]) => qos)
      const lower = Math.min(qos, Math.max(...granted))
      if (granted.length === 0) continue
      if (lower === 0) {
        if (session.wire) session.expected.push(`${topic} q0 ${payload}`)
        continue
      }
      session.unsent.push({ topic, payload, qos: lower as 1 | 2, at: this.now, packetId: 0, released: false })
      if (session.wire && session.unsent.length === 1 && session.sent.length < limits.window) this.send(session)
      else {
        this.dropOld(session)
        while (session.unsent.length > limits.messages) this.dropFirst(session)
      }
    }
  }

  pump(session: ModelSession): void {
    while (session.wire && session.sent.length < limits.window && session.unsent.length > 0) {
      if (this.isOld(session.unsent[0] as Entry)) this.dropFirst(session)
      else this.send(session)
    }
  }

  send(session: ModelSession): void {
    const entry = session.unsent.shift() as Entry
    session.sent.push(entry)
    session.expected.push(line(entry, ''))
  }

  clear(session: ModelSession, packetId: number): void {
    session.sent.splice(
      session.sent.findIndex(entry => entry.packetId === packetId),
      1,
    )
    this.pump(session)
  }

  isOld({ at }: Entry): boolean {
    return this.now - at > limits.ageMs
  }

  dropOld(session: ModelSession): void {
    while (session.unsent[0] && this.isOld(session.unsent[0])) this.dropFirst(session)
  }

  dropFirst(session: ModelSession): void {
    session.unsent.shift()
    this.dropped.push(`queue ${session.clientId}`)
  }

  /** As {@link stateOf} has it. */
  state(): ReturnType<typeof stateOf> {
    const queued = ({ topic, payload, qos, at, packetId, released }: Entry) =>
      `${topic} ${payload.length} ${payload} ${qos} false p ${at} ${packetId} ${released}`
    return {
      sessions: [...this.durable.values()]
        .map(({ clientId, subscriptions, sent, unsent, incoming }) => ({
          clientId,
          subscriptions: [...subscriptions].map(([filter, qos]) => `${filter} ${qos}`).sort(),
          inflight: sent.map(queued),
          unsent: unsent.map(queued),
          incoming: [...incoming].sort((a, b) => a - b),
        }))
        .sort((a, b) => (a.clientId < b.clientId ? -1 : 1)),
      retained: [...this.retained].map(([topic, payload]) => `${topic} ${payload} 0 p`).sort(),
      wills: [...this.wills].map(([clientId, topic]) => `${clientId} ${topic} will 1 false`).sort(),
      subscriptions: this.all().reduce((sum, { subscriptions }) => sum + subscriptions.size, 0),
    }
  }
}

/** Its packet id is the broker's to choose: 0 is any. */
function line({ topic, qos, payload, packetId }: Entry, more: string): string {
  return `${topic} q${qos} #${packetId}${more} ${payload}`
}

for (const seed of seeds) {
  t.test(`seed ${seed}`, async t => {
    const random = new Random(seed)
    const model = new Model()
    const dropped: string[] = []
    const options: Partial<SessionsOptions> = {
      queue: limits,
      sessions: mostSessions,
      sessionAgeMs,
      retained: { messages: mostRetained, bytes: 1e9 },
      clock: { now: () => model.now },
      dropped: (what, clientId) => dropped.push(`${what} ${clientId}`),
      // Snapshots are begun often, and take many turns, in which clients go on.
      pace: { journalBytes: 5_000, sliceMs: 0 },
    }
    const next = await folders()
    let dir = next()
    let sessions: Sessions = await openSessions(dir, options)
    const ballast = (bytes: number) =>
      sessions.publish(
        message('$hub/ballast', { qos: 0, retain: true, clientId: 'p', payload: Buffer.alloc(bytes) }),
        0,
      )
    ballast(1)
    let sequence = 0
    let snapshots = 0
    let snapshot = ''
    let crashes = 0
    let step = 0
    const done: string[] = []
    const fail = (what: string, actual: unknown, expected: unknown) => {
      t.same(actual, expected, `${what} in step ${step}, after ${done.slice(-10).join(' · ')}`)
      throw new Error(`seed ${seed} fails in step ${step}`)
    }
    const sessionOf = ({ clientId, durable }: ModelSession) => (durable ? sessions.find(clientId) : live.get(clientId))
    const live = new Map<string, NonNullable<ReturnType<Sessions['find']>>>()

    /** What was written is what was to be, and takes over the packet ids chosen. */
    const check = (sorted = false) => {
      for (const session of model.all()) {
        const { wire, sent, expected } = session
        if (!wire) continue
        const payloads = wire.publishes.splice(0)
        const written = wire.take().map(text => {
          if (text.startsWith('pubrel')) return text
          const { payload, packetId, dup, topic } = payloads.shift() as (typeof payloads)[0]
          const entry = packetId > 0 && !dup ? sent.find(one => one.packetId === 0) : undefined
          if (!entry) return `${text} ${payload}`
          if (sent.some(one => one.packetId === packetId)) fail('a packet id given twice', packetId, topic)
          entry.packetId = packetId
          return `${text.replace(`#${packetId}`, '#0')} ${payload}`
        })
        session.expected = []
        if (sorted) for (const list of [written, expected]) list.sort()
        if (JSON.stringify(written) !== JSON.stringify(expected))
          fail(`written to ${session.clientId}`, written, expected)
      }
      // In which order the subscribers of one message come is the emitter's business.
      if (JSON.stringify(dropped.sort()) !== JSON.stringify(model.dropped.sort()))
        fail('dropped', dropped, model.dropped)
      dropped.length = model.dropped.length = 0
    }
    const compare = (what: string) => {
      const [actual, expected] = [stateOf(sessions), model.state()]
      if (JSON.stringify(actual) !== JSON.stringify(expected)) fail(what, actual, expected)
    }

    const publish = () => {
      const retain = random.chance(25)
      const qos = retain ? 0 : (random.below(3) as QoS)
      const topic = random.pick(topics)
      sequence++
      const payload = retain && random.chance(30) ? '' : `${sequence}`
      const publish = message(topic, { qos, retain, clientId: 'p', payload: Buffer.from(payload) })
      done.push(`publish ${topic} ${payload} q${qos}${retain ? ' retain' : ''}`)
      sessions.publish(publish, sequence)
      if (retain) model.retain(topic, payload)
      model.publish(topic, payload, qos)
      return { publish, sequence }
    }

    /** Sessions look for what is too old now and then: it is done here before anything is compared. */
    const flush = async (sorted = false) => {
      await sessions.flush()
      sessions.expire()
      model.expire()
      check(sorted)
    }

    const restart = async () => {
      const uncommitted = Array.from({ length: random.below(4) }, publish)
      // QoS 2 waits for the journal, and what has QoS 0 does not.
      await flush(true)
      done.push('crash')
      const before = dir
      dir = next()
      sessions = await crash(sessions, before, dir, options)
      rmSync(before, { recursive: true })
      live.clear()
      for (const session of model.all()) if (session.wire) model.leave(session)
      model.makeRoom()
      for (const { publish, sequence } of uncommitted) {
        if (sequence <= sessions.applied) fail('applied', sessions.applied, sequence)
        if (publish.qos === 0 && !publish.retain) continue
        sessions.publish(publish, sequence)
        if (publish.retain) model.retain(publish.topic, publish.payload.toString())
      }
      sessions.committed(sequence)
      check()
      compare('after the crash')
      for (const { clientId, since } of model.absent()) {
        if (sessions.find(clientId)?.absentSince !== since) fail('absent', sessions.find(clientId)?.absentSince, since)
      }
      crashes++
    }

    for (step = 1; step <= steps; step++) {
      model.now += 1 + random.below(20)
      const clientId = random.pick(clientIds)
      const known = [model.clean.get(clientId), model.durable.get(clientId)].find(one => one?.wire)
      const session = known && sessionOf(known)
      const kind = random.below(1_000)
      if (kind < 350) {
        publish()
        sessions.committed(sequence)
      } else if (kind < 356) await restart()
      else if (kind < 359) {
        done.push('ballast')
        ballast(100_000)
      } else if (kind < 370) {
        done.push('expire')
        sessions.expire()
        model.expire()
      } else if (kind < 400) {
        done.push(`will of ${clientId}`)
        if (random.chance(50)) {
          sessions.wills.put(will(clientId, { topic: 'w', payload: Buffer.from('will') }))
          model.wills.set(clientId, 'w')
        } else if ((sessions.wills.delete(clientId) !== undefined) !== model.wills.delete(clientId)) fail('will', 0, 1)
      } else if (!known || !session) {
        const clean = random.chance(20)
        done.push(`connect ${clientId}${clean ? ' clean' : ''}`)
        const opened = sessions.open(clientId, clean ? passing : kept)
        const expected = model.connect(clientId, clean)
        if (opened.present !== expected.present) fail('present', opened.present, expected.present)
        if (clean) live.set(clientId, opened.session)
        const wire = new Wire()
        opened.session.attach(wire)
        model.attach(expected.session, wire)
      } else if (kind < 450) {
        done.push(`leave ${clientId}`)
        sessions.leave(session)
        model.leave(known)
      } else if (kind < 550) {
        const filter = random.pick(filters)
        const qos = random.below(3) as QoS
        done.push(`subscribe ${clientId} ${filter} q${qos}`)
        sessions.subscribe(session, { filter, qos })
        known.subscriptions.set(filter, qos)
        if (known.sent.length < limits.window) {
          sessions.offerRetained(session, filter, qos)
          const found = [...model.retained].filter(([topic]) => matches(filter, topic))
          known.expected.push(...found.map(([topic, payload]) => `${topic} q0 retain ${payload}`))
          check(true)
        }
      } else if (kind < 600) {
        const filter = random.pick(filters)
        done.push(`unsubscribe ${clientId} ${filter}`)
        sessions.unsubscribe(session, filter)
        known.subscriptions.delete(filter)
      } else if (kind < 650) {
        const id = 1 + random.below(5)
        done.push(`receive ${clientId} #${id}`)
        let accepted = false
        const accept = (settle: () => void) => {
          accepted = true
          settle()
        }
        sessions.receive(session, id, accept, () => {})
        if (accepted === known.incoming.has(id)) fail('taken for new', accepted, !accepted)
        known.incoming.add(id)
      } else if (kind < 690) {
        const id = 1 + random.below(5)
        done.push(`release ${clientId} #${id}`)
        sessions.release(session, id, () => {})
        known.incoming.delete(id)
      } else if (kind < 695) {
        done.push(`clear ${clientId}`)
        clearIncoming(sessions, session)
        known.incoming.clear()
      } else if (known.sent.length > 0) {
        const entry = random.pick(known.sent)
        const { packetId, qos, released } = entry
        done.push(`acknowledge ${clientId} #${packetId}`)
        if (qos === 2 && !released) {
          const fault = session.received(packetId)
          if (fault) fail('PUBREC', fault, undefined)
          entry.released = true
          known.expected.push(`pubrel #${packetId}`)
          // Of a kept session it is written when the journal has it.
          await flush()
        } else {
          const fault = qos === 1 ? session.acknowledge(packetId) : session.complete(packetId)
          if (fault) fail('PUBACK or PUBCOMP', fault, undefined)
          model.clear(known, packetId)
        }
      }
      // QoS 2 leaves a kept session when the journal has its packet id, and what waits on disk is to be read.
      const isWaiting = () => model.all().some(({ wire, expected }) => wire && wire.written < expected.length)
      for (let turn = 0; turn < 100 && isWaiting(); turn++) {
        await sessions.flush()
        if (turn > 0) await new Promise(resolve => setTimeout(resolve, turn))
      }
      check()
      if (step % 20 === 0) compare('state')
      if (random.chance(20)) await new Promise(resolve => setImmediate(resolve))
      if (snapshotOf(dir) !== snapshot) {
        snapshots++
        snapshot = snapshotOf(dir)
      }
      // Groups of a few steps each.
      if (random.chance(3)) await flush()
    }
    await restart()
    t.ok(crashes > 1 && snapshots > 5, `${steps} steps, ${crashes} crashes, ${snapshots} snapshots`)
    await sessions.stop()
  })
}
