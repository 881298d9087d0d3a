import t, { type Test } from 'tap'
import { Access, parseRule } from '../../src/access/rules.js'
import type { EncodedPublish, PublishOptions } from '../../src/mqtt/publish.js'
import type { Session } from '../../src/sessions/session.js'
import type { Sessions } from '../../src/sessions/sessions.js'
import { Random } from '../fixtures/packets.js'
import { kept, message, openSessions, passing, Wire } from '../fixtures/sessions.js'
import { tempDir } from '../services/service.js'

/*
 * Slow receivers against a model: the last message of every state topic arrives, per topic nothing comes out of order,
 * every delivery is received, merged or dropped, and no more waits than there are topics.
 */

/** Messages that an outbox holds before QoS 0 finds no room. */
const outboxLimit = 10

/** A connection whose packets wait in an outbox, and leave when the client reads. */
class SlowWire extends Wire {
  session: Session | undefined
  readonly #outbox: (() => void)[] = []
  #isWanted = false

  /** Number of packets that the client has yet to read. */
  get unsent(): number {
    return this.#outbox.length
  }

  override get hasCapacity(): boolean {
    if (this.#outbox.length < outboxLimit / 2) return true
    this.#isWanted = true
    return false
  }

  override deliverQos0(encoded: EncodedPublish, retain: boolean): boolean {
    if (this.#outbox.length > outboxLimit) return false
    this.#outbox.push(() => super.deliverQos0(encoded, retain))
    return true
  }

  override publish(encoded: EncodedPublish, sending: PublishOptions, dup: boolean): boolean {
    this.#outbox.push(() => {
      super.publish(encoded, sending, dup)
      this.session?.acknowledge(sending.packetId)
    })
    return true
  }

  /** The client reads so many packets. */
  read(count: number): void {
    for (let left = count; left > 0 && this.#outbox.length > 0; left--) {
      this.#outbox.shift()?.()
      if (this.#outbox.length >= outboxLimit / 2 || !this.#isWanted) continue
      this.#isWanted = false
      this.session?.pump()
    }
  }
}

interface Publish {
  readonly payload: string
  readonly retain: boolean
}

interface Wish {
  readonly filter: string
  readonly qos: 0 | 1
  readonly conflate: boolean
}

/** One client: what the model knows of it beside what its wires have. */
class Receiver {
  readonly wishes: readonly Wish[]
  readonly isKept: boolean
  readonly user: string
  wire = new SlowWire()
  session: Session | undefined
  /** Publishes that were delivered to it, and received live, on all connections. */
  sent = 0
  received = 0
  /** Places, in the history of each topic, of the last message received, and of the last one published as retained. */
  readonly #at = new Map<string, number>()
  readonly #retainedAt = new Map<string, number>()
  #seen = 0

  constructor(wishes: readonly Wish[], isKept: boolean, user: string) {
    this.wishes = wishes
    this.isKept = isKept
    this.user = user
  }

  connect(sessions: Sessions, clientId: string): void {
    if (this.session) sessions.leave(this.session)
    const { session } = sessions.open(clientId, { ...(this.isKept ? kept : passing), user: this.user, clean: true })
    this.wire = new SlowWire()
    this.wire.session = session
    this.session = session
    this.#at.clear()
    this.#retainedAt.clear()
    this.#seen = 0
    session.attach(this.wire)
    for (const wish of this.wishes) this.subscribe(sessions, wish)
  }

  subscribe(sessions: Sessions, wish: Wish): void {
    const session = this.session as Session
    sessions.subscribe(session, wish)
    sessions.offerRetained(session, wish.filter, wish.qos)
  }

  /** Compares what has come with what was published. Returns the first fault. */
  check(history: ReadonlyMap<string, readonly Publish[]>): string | undefined {
    for (const { topic, payload, retain } of this.wire.publishes.slice(this.#seen)) {
      this.#seen++
      if (!retain) this.received++
      const published = history.get(topic) ?? []
      // A retained message may have come live before, and messages that are not retained since then.
      const before = (retain ? this.#retainedAt : this.#at).get(topic) ?? -1
      const at = published.findIndex((one, n) => n >= before + (retain ? 0 : 1) && one.payload === payload)
      const found = published[at]
      if (!found) return `${topic}: ${payload} after ${published[before]?.payload}`
      this.#at.set(topic, Math.max(at, this.last(topic)))
      if (found.retain) this.#retainedAt.set(topic, at)
    }
    return undefined
  }

  /** The place in its history of the last message of a topic that came. */
  last(topic: string): number {
    return this.#at.get(topic) ?? -1
  }
}

const topicsOfGroup = 6
const groups = ['$hub/last', 'retained', 'plain', 'asked', 'sure'] as const

async function run(t: Test, seed: number, reconnects: boolean): Promise<void> {
  const random = new Random(seed)
  const counts = { merged: 0, dropped: 0 }
  const rule = parseRule('allow all #')
  const hubRule = parseRule('allow read $hub/#')
  if (typeof rule === 'string' || typeof hubRule === 'string') throw new Error('no rule')
  const sessions = await openSessions(await tempDir(), {
    counts,
    access: (user, clientId) => {
      if (user === '') return undefined
      const access = new Access(user, clientId, [rule, hubRule])
      access.conflates = true
      return access
    },
  })
  t.teardown(() => sessions.stop())
  const wish = (filter: string, more: Partial<Wish> = {}): Wish => ({ filter, qos: 0, conflate: false, ...more })
  const usual = [wish('$hub/last/#'), wish('retained/+'), wish('plain/+'), wish('asked/+', { conflate: true })]
  const receivers = [
    new Receiver([...usual, wish('sure/+', { qos: 1 })], false, ''),
    new Receiver([...usual, wish('sure/+', { qos: 1 })], true, ''),
    // Overlapping, one of which asks.
    new Receiver([wish('$hub/last/+'), wish('#'), wish('asked/#', { conflate: true })], false, ''),
    // The user asks, for all topics.
    new Receiver([wish('$hub/last/#'), wish('#')], false, 'conflating'),
  ]
  for (const [n, receiver] of receivers.entries()) receiver.connect(sessions, `c${n}`)
  const history = new Map<string, Publish[]>()
  /** Place of the last publish of each topic that was state to each receiver. */
  const states = receivers.map(() => new Map<string, number>())
  const stalled = new Set<Receiver>()
  let n = 0
  for (let step = 0; step < 3_000; step++) {
    const receiver = random.pick(receivers)
    if (random.chance(2)) {
      if (stalled.has(receiver)) stalled.delete(receiver)
      else stalled.add(receiver)
    } else if (reconnects && random.chance(1)) {
      receiver.connect(sessions, `c${receivers.indexOf(receiver)}`)
    } else if (random.chance(1)) {
      if (reconnects) receiver.subscribe(sessions, random.pick(receiver.wishes))
    } else if (random.chance(30)) {
      if (!stalled.has(receiver)) receiver.wire.read(1 + random.below(20))
    } else {
      const group = random.pick(groups)
      const topic = `${group}/${random.below(topicsOfGroup)}`
      const retain = group === '$hub/last' || (group === 'retained' ? !random.chance(10) : random.chance(5))
      const payload = retain && random.chance(10) ? '' : String(++n)
      const qos = group === 'sure' ? 1 : 0
      const published = history.get(topic) ?? []
      history.set(topic, published)
      published.push({ payload, retain })
      for (const [who, one] of receivers.entries()) {
        if (group === 'sure' && who < 2) continue
        const isState = retain || (group === 'asked' && who < 3) || one.user !== ''
        if (isState) states[who]?.set(topic, published.length - 1)
        one.sent++
      }
      const clientId = group === '$hub/last' ? '' : 'publisher'
      sessions.publish(message(topic, { payload: Buffer.from(payload), retain, qos, clientId }), 0)
    }
    for (const one of receivers) {
      const fault = one.check(history)
      if (fault) throw new Error(`step ${step}, client ${receivers.indexOf(one)}: ${fault}`)
    }
    const got = receivers.reduce((sum, { received, wire }) => sum + received + wire.unsent, 0)
    const waiting = receivers.reduce((sum, { sent }) => sum + sent, 0) - got - counts.merged - counts.dropped
    if (!reconnects && waiting > receivers.length * groups.length * topicsOfGroup) throw new Error(`${waiting} wait`)
  }
  // Retained messages of several subscriptions are searched for in turns of the event loop.
  for (let turn = 0; turn < 20; turn++) {
    for (const { wire } of receivers) wire.read(Infinity)
    await new Promise(resolve => setImmediate(resolve))
  }
  for (const [who, receiver] of receivers.entries()) {
    t.equal(receiver.check(history), undefined, `client ${who}: in order`)
    for (const [topic, at] of states[who] ?? []) {
      const payload = (place: number) => history.get(topic)?.[place]?.payload
      // Who came later, or again, has the state of before only as a retained message.
      if (reconnects && !history.get(topic)?.[at]?.retain) continue
      if (reconnects && receiver.last(topic) < 0 && payload(at) === '') continue
      // One clearing is like another.
      const isCleared = payload(at) === '' && payload(receiver.last(topic)) === ''
      t.ok(isCleared || receiver.last(topic) >= at, `client ${who}: the last state of ${topic} has come`)
    }
  }
  if (reconnects) return
  const sure = receivers.slice(0, 2).flatMap(({ wire }) => wire.publishes.filter(({ qos }) => qos === 1))
  const sent = receivers.reduce((sum, one) => sum + one.sent, 0)
  const received = receivers.reduce((sum, one) => sum + one.received, 0) - sure.length
  t.equal(received + counts.merged + counts.dropped, sent, 'received + merged + dropped = sent')
  t.ok(counts.merged > 0 && counts.dropped > 0, `${counts.merged} merged, ${counts.dropped} dropped`)
}

const given = process.env.CONFLATION_SEED
const first = given === undefined ? Math.floor(Math.random() * 1e9) : Number(given)

for (let seed = first; seed < first + (given === undefined ? 20 : 1); seed++) {
  for (const reconnects of [false, true]) {
    t.test(`seed ${seed}${reconnects ? ', with reconnects' : ''}: CONFLATION_SEED=${seed} repeats this`, t =>
      run(t, seed, reconnects),
    )
  }
}

t.test('what is delivered at a higher QoS is not followed by the older message that waited', async t => {
  const sessions = await openSessions(await tempDir())
  t.teardown(() => sessions.stop())
  const receiver = new Receiver([{ filter: '#', qos: 1, conflate: false }], true, '')
  receiver.connect(sessions, 'c')
  const publish = (topic: string, payload: string, qos: 0 | 1) =>
    sessions.publish(message(topic, { payload: Buffer.from(payload), qos, retain: true }), 0)
  // Others wait in front of it, so that the queue has its turn before.
  for (let n = 0; n < 30; n++) publish(`other/${n}`, '', 0)
  publish('t', 'old', 0)
  publish('t', 'last', 1)
  receiver.wire.read(Infinity)
  t.same(
    receiver.wire.publishes.filter(({ topic }) => topic === 't').map(({ payload }) => payload),
    ['last'],
  )
})
