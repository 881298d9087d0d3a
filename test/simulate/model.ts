/*
 * How several hubs share sessions and retained messages, as an executable specification: the hubs, RabbitMQ's stream and
 * the clients as small classes, driven by a seeded scheduler that crashes, pauses and cuts off hubs, and lets the stream
 * lose its end. Found with it, and part of the design since:
 *
 * 1. A change of owner needs the word of the former owner, or the end of its lease. A claim that was read back is not
 *    enough: the former owner may not have read it yet, and both would advance the session.
 * 2. A record that a hub is dead names the last sign of life that its author knew, and is void when there is a later one in
 *    front of it. Otherwise a hub whose sign was on the way is buried alive.
 * 3. What a hub may do depends on the time at which it sent the last sign of life that came back to it, not on the time at
 *    which it read it.
 * 4. After it was stale, a hub waits for half a lease before it advances sessions. When the stream has lost the record of its
 *    death, the hub that adopted its sessions has noticed by then: it reads the stream, or is stale itself.
 * 5. When the stream has lost its end, each hub appends its messages from the last own one in the stream, and claims the
 *    sessions that it holds again. So segments of the spool stay until the stream has been synced.
 * 6. The last own message in the stream is not enough: a hub may have appended newer ones before it noticed. It goes back to the
 *    first gap; so each batch has to name the message before it, and a reader takes nothing behind a gap.
 * 7. A confirm is not enough either: the stream may lose a record before its author has read it. What counts as sent is what came
 *    back.
 * 8. A retained message counts where it stands in the stream, each time that it stands there, the hub's own included: only an
 *    own one that is still to come shadows others. To skip the ones seen before lets hubs end with different values.
 *
 * Not in the model: which topics others want (everything is sent), QoS 2, and a hub that is stopped between its look at the
 * clock and its next packet (that packet is a duplicate at most: the new owner does not know it as acknowledged).
 */

/** Ways to spoil the design, each of which the checks must notice. */
export const mutations = [
  'adoption without the lease',
  'death counts in spite of a later sign of life',
  'transfer without the cut vector',
  'owner without the word of the former one',
  'no wait after being stale',
  'no second sending after a lost end',
  'retained messages seen before are skipped',
] as const
export type Mutation = (typeof mutations)[number]

/** A message: the hub that accepted it, and its place among the messages of that hub. */
interface Told {
  readonly hub: number
  readonly sequence: number
  readonly retained: boolean
}

type Cut = readonly number[]

/** What a session needs to go on elsewhere. */
interface SessionState {
  readonly queue: readonly Told[]
  /** For each hub, the sequence number up to which its messages are in the queue, or acknowledged. */
  readonly cut: Cut
}

type Body =
  | { readonly kind: 'messages'; readonly messages: readonly Told[] }
  | { readonly kind: 'alive'; readonly hub: number; readonly life: number; readonly beat: number }
  | { readonly kind: 'claim'; readonly hub: number; readonly client: number }
  | { readonly kind: 'dead'; readonly hub: number; readonly life: number; readonly known: number; readonly by: number }
  | { readonly kind: 'journal'; readonly hub: number; readonly client: number; readonly state: SessionState }

interface LogRecord {
  readonly id: number
  readonly body: Body
}

/** Half of this without a sign of life, and a hub stops by itself; the whole of it, and others may adopt its sessions. */
const lease = 40

interface Held {
  queue: Told[]
  cut: number[]
  /** Undefined: the session is advanced here. Otherwise the hub that it was given to, which may still have to fetch it. */
  givenTo: number | undefined
}

/** What a hub knows by the stream up to its place: the same for every hub that is at the same place. */
interface View {
  readonly owner: number[]
  /** The hub that must give its word before the owner goes on. Undefined: nobody. */
  readonly former: (number | undefined)[]
  readonly beats: { life: number; beat: number; offset: number }[]
  /** The life in which a hub was found dead. */
  readonly dead: number[]
  readonly journals: Map<number, { hub: number; state: SessionState }>
}

export class Violation extends Error {}

export interface Faults {
  readonly mutation?: Mutation | undefined
}

const hubCount = 3
const clientCount = 2

class Hub {
  readonly id: number
  // — on disk —
  spool: Told[] = []
  sent = 0
  readonly held = new Map<number, Held>()
  retained: Told | undefined
  life = 1
  /** The last record that was read, which is looked at again after a start. */
  anchor = { place: 0, id: 0 }
  // — in memory —
  isUp = true
  isPaused = false
  isCutOff = false
  view: View
  place = 0
  beat = 0
  /** When the sign of life with a number was sent. */
  readonly sentAt = new Map<number, number>()
  echoSentAt = Number.NEGATIVE_INFINITY
  freshSince = Number.POSITIVE_INFINITY
  heard = new Map<number, number>()
  /** Records on their way to the stream, which may take any time. */
  verdicts: Body[] = []

  constructor(id: number, view: View) {
    this.id = id
    this.view = view
  }

  get isAtWork(): boolean {
    return this.isUp && !this.isPaused
  }
}

export class World {
  readonly trace: string[] = []
  readonly log: LogRecord[] = []
  readonly hubs: readonly Hub[]
  /** Where each client is connected. */
  readonly at: number[] = []
  readonly received: Told[][] = []
  now = 0
  #ids = 0
  #synced = 0
  readonly #random: () => number
  readonly #mutation: Mutation | undefined

  constructor(seed: number, { mutation }: Faults = {}) {
    this.#random = randomOf(seed)
    this.#mutation = mutation
    this.hubs = Array.from({ length: hubCount }, (_, id) => new Hub(id, this.#first()))
    for (let client = 0; client < clientCount; client++) {
      this.at.push(0)
      this.received.push([])
      this.hubs[0]?.held.set(client, { queue: [], cut: this.#zeros(), givenTo: undefined })
    }
  }

  #zeros(): number[] {
    return Array.from({ length: hubCount }, () => 0)
  }

  #first(): View {
    return {
      owner: Array.from({ length: clientCount }, () => 0),
      former: Array.from({ length: clientCount }, () => undefined),
      beats: Array.from({ length: hubCount }, () => ({ life: 1, beat: 0, offset: -1 })),
      dead: this.#zeros(),
      journals: new Map(
        Array.from({ length: clientCount }, (_, client) => [
          client,
          { hub: 0, state: { queue: [], cut: this.#zeros() } },
        ]),
      ),
    }
  }

  #below(n: number): number {
    return Math.floor(this.#random() * n)
  }

  #spoilt(mutation: Mutation): boolean {
    return this.#mutation === mutation
  }

  #append(body: Body): void {
    this.log.push({ id: ++this.#ids, body })
  }

  // — steps —

  /** Takes one step of the schedule. Throws a `Violation`. */
  step(isCalm = false): void {
    this.now++
    const hub = this.hubs[this.#below(hubCount)] as Hub
    const client = this.#below(clientCount)
    const roll = this.#random()
    if (isCalm) {
      for (const one of this.hubs) this.#work(one)
      for (let one = 0; one < clientCount; one++) this.#deliver(one)
    } else if (roll < 0.2) this.#publish(hub)
    else if (roll < 0.6) this.#work(hub)
    else if (roll < 0.8) this.#deliver(client)
    else if (roll < 0.86) this.#connect(client, hub)
    else if (roll < 0.9) this.#ship(hub)
    else if (roll < 0.92) this.#synced = this.log.length
    else if (roll < 0.985) this.#fail(hub)
    else this.#loseEnd()
    this.#checkOwners()
  }

  /** Ends all faults, lets everything come to rest, and checks what was promised. */
  settle(): void {
    for (const hub of this.hubs) {
      if (!hub.isUp) this.#restart(hub)
      hub.isPaused = false
      hub.isCutOff = false
    }
    for (let n = 1; n < 12 * lease; n++) {
      this.step(true)
      if (n % 10 === 0 && this.#unkept() === undefined) return
    }
    const unkept = this.#unkept()
    if (unkept !== undefined) throw new Violation(unkept)
  }

  #fail(hub: Hub): void {
    const kind = this.#below(3)
    if (kind === 0) {
      if (hub.isUp) {
        hub.isUp = false
        this.#note(`hub ${hub.id} crashes`)
      } else this.#restart(hub)
    } else if (kind === 1) {
      hub.isPaused = !hub.isPaused
      this.#note(`hub ${hub.id} ${hub.isPaused ? 'is stopped' : 'goes on'}`)
      // Stopped for longer than the lease: the case that matters.
      if (hub.isPaused && this.#random() < 0.5) this.now += this.#below(2 * lease)
    } else {
      hub.isCutOff = !hub.isCutOff
      this.#note(`hub ${hub.id} is ${hub.isCutOff ? 'cut off' : 'back at the bus'}`)
    }
  }

  #restart(hub: Hub): void {
    hub.isUp = true
    hub.isPaused = false
    // The stream is read again for the view; the cuts of the sessions tell which messages are known.
    Object.assign(hub, { view: this.#first(), place: 0, freshSince: Number.POSITIVE_INFINITY })
    hub.echoSentAt = Number.NEGATIVE_INFINITY
    hub.sentAt.clear()
    hub.verdicts = []
    hub.heard.clear()
    this.#note(`hub ${hub.id} starts`)
  }

  #loseEnd(): void {
    const from = this.#synced + this.#below(this.log.length - this.#synced + 1)
    if (from >= this.log.length) return
    this.#note(`the stream loses records ${from} to ${this.log.length - 1}`)
    this.log.length = from
  }

  /** A publish that is acknowledged: it is on disk, and in the queues of the sessions here. */
  #publish(hub: Hub): void {
    if (!hub.isAtWork) return
    const told: Told = { hub: hub.id, sequence: hub.spool.length + 1, retained: this.#random() < 0.3 }
    hub.spool.push(told)
    if (told.retained) hub.retained = told
    this.#match(hub, told)
    this.#note(`hub ${hub.id} accepts ${name(told)}`)
  }

  #match(hub: Hub, told: Told): void {
    for (const held of hub.held.values()) {
      if (held.givenTo !== undefined || told.sequence <= (held.cut[told.hub] as number)) continue
      // The first one that is missing comes first: messages of a hub are in the stream in their order.
      if (told.sequence !== (held.cut[told.hub] as number) + 1) continue
      held.queue.push(told)
      held.cut[told.hub] = told.sequence
    }
  }

  /** What a hub does by itself: beats, sends, reads, fetches sessions, finds others dead. */
  #work(hub: Hub): void {
    if (!hub.isAtWork || hub.isCutOff) return
    const { anchor } = hub
    if (anchor.place > 0 && this.log[anchor.place - 1]?.id !== anchor.id) this.#resynchronise(hub)
    if (this.#random() < 0.5) {
      hub.sentAt.set(++hub.beat, this.now)
      this.#append({ kind: 'alive', hub: hub.id, life: hub.life, beat: hub.beat })
    }
    if (this.#random() < 0.3) for (const verdict of hub.verdicts.splice(0)) this.#append(verdict)
    const waiting = hub.spool.slice(hub.sent, hub.sent + 3)
    if (waiting.length > 0) {
      this.#append({ kind: 'messages', messages: waiting })
      // Without a confirm the hub sends again.
      if (this.#random() < 0.8) hub.sent += waiting.length
    }
    for (let n = this.#below(12) + 4; n > 0 && this.#read(hub); n--);
    if (hub.place === this.log.length && !this.#spoilt('no second sending after a lost end')) this.#goBack(hub)
    for (let client = 0; client < clientCount; client++) this.#take(hub, client)
    for (const other of this.hubs) this.#bury(hub, other)
  }

  /** Reads one record. Returns false at the end of the stream. */
  #read(hub: Hub): boolean {
    const record = this.log[hub.place]
    if (!record) return false
    hub.place++
    if (hub.place > hub.anchor.place) hub.anchor = { place: hub.place, id: record.id }
    this.#apply(hub, record.body, hub.place - 1)
    return true
  }

  /** At the end of the stream: what has not come back to the hub is not there, and is sent again. */
  #goBack(hub: Hub): void {
    const own = this.log.flatMap(({ body }) => (body.kind === 'messages' ? body.messages : []))
    hub.sent = 0
    // In their order: a message behind a gap was taken by nobody.
    for (const told of own) if (told.hub === hub.id && told.sequence === hub.sent + 1) hub.sent++
  }

  #resynchronise(hub: Hub): void {
    this.#note(`hub ${hub.id} finds that the stream has lost its end`)
    Object.assign(hub, { view: this.#first(), place: 0, freshSince: Number.POSITIVE_INFINITY })
    hub.anchor = { place: 0, id: 0 }
    hub.echoSentAt = Number.NEGATIVE_INFINITY
    for (const [client, { givenTo }] of hub.held) {
      if (givenTo === undefined) this.#append({ kind: 'claim', hub: hub.id, client })
    }
  }

  #apply(hub: Hub, body: Body, offset: number): void {
    const { view } = hub
    switch (body.kind) {
      case 'messages':
        for (const told of body.messages) {
          this.#retain(hub, told)
          if (told.hub !== hub.id) this.#match(hub, told)
          // A session that has come from elsewhere may lack messages of this hub that were accepted before.
          else this.#match(hub, told)
        }
        return
      case 'alive': {
        if (body.life < (view.beats[body.hub]?.life ?? 0)) return
        view.beats[body.hub] = { life: body.life, beat: body.beat, offset }
        hub.heard.set(body.hub, this.now)
        if (body.hub !== hub.id || body.life !== hub.life) return
        const sentAt = hub.sentAt.get(body.beat)
        if (sentAt === undefined) return
        if (this.now - hub.echoSentAt >= lease / 2) hub.freshSince = this.now
        hub.echoSentAt = Math.max(hub.echoSentAt, sentAt)
        return
      }
      case 'claim': {
        const { client } = body
        const before = view.owner[client] as number
        if (before !== body.hub) {
          // The word of an owner that never had the session is the word of the one before.
          view.former[client] = before
          view.owner[client] = body.hub
        }
        const held = hub.held.get(client)
        if (body.hub !== hub.id && held && held.givenTo === undefined) {
          held.givenTo = body.hub
          this.#note(`hub ${hub.id} gives session ${client} to hub ${body.hub}`)
        }
        return
      }
      case 'dead': {
        const last = view.beats[body.hub] as View['beats'][number]
        const isVoid = last.offset > body.known || last.life > body.life || (view.dead[body.hub] as number) >= body.life
        if (isVoid && !this.#spoilt('death counts in spite of a later sign of life')) return
        view.dead[body.hub] = body.life
        if (hub.id === body.hub && hub.life === body.life) {
          hub.life++
          this.#note(`hub ${hub.id} reads that it was found dead`)
        }
        this.#adopt(hub, body.hub, body.by)
        return
      }
      case 'journal':
        if (view.owner[body.client] === body.hub) view.journals.set(body.client, body)
    }
  }

  /** The sessions of a dead hub are those of another one now. */
  #adopt(hub: Hub, dead: number, by: number): void {
    for (const [client, owner] of hub.view.owner.entries()) {
      const held = hub.held.get(client)
      if (hub.view.former[client] === dead && hub.view.owner[client] !== dead) {
        // Its word is not to be had any more.
        hub.view.former[client] = undefined
        if (owner === hub.id && !held) this.#rebuild(hub, client)
        // A copy that was not fetched is still the session.
        else if (owner === hub.id && held) this.#install(hub, client, held)
      }
      if (owner !== dead) continue
      hub.view.owner[client] = by
      hub.view.former[client] = undefined
      if (hub.id === dead) hub.held.delete(client)
      if (hub.id === by && (!held || held.givenTo !== undefined)) this.#rebuild(hub, client)
    }
  }

  #rebuild(hub: Hub, client: number): void {
    const state = hub.view.journals.get(client)?.state as SessionState
    this.#install(hub, client, state)
    this.#note(`hub ${hub.id} rebuilds session ${client} from the journal`)
  }

  /** Installs a session, with what it lacks of the messages that this hub has read, or accepted, already. */
  #install(hub: Hub, client: number, { queue, cut }: SessionState): void {
    const held: Held = { queue: [...queue], cut: [...cut], givenTo: undefined }
    hub.held.set(client, held)
    if (this.#spoilt('transfer without the cut vector')) {
      for (const { body } of this.log.slice(0, hub.place)) {
        if (body.kind === 'messages') for (const { hub: from, sequence } of body.messages) held.cut[from] = sequence
      }
      held.cut[hub.id] = hub.spool.length
      return
    }
    for (const { body } of this.log.slice(0, hub.place)) {
      if (body.kind === 'messages') for (const told of body.messages) this.#match(hub, told)
    }
    for (const told of hub.spool) this.#match(hub, told)
  }

  /** Fetches a session that this hub owns from the one that has it. */
  #take(hub: Hub, client: number): void {
    const { view } = hub
    // The claim that the giver has read must be one that this hub has read, too: in between it may have been found dead.
    if (view.owner[client] !== hub.id || hub.place < this.log.length) return
    const former = view.former[client]
    const held = hub.held.get(client)
    if (held && (former === undefined || former === hub.id)) {
      // The claim for which it was given away is not in the stream any more, or the hub itself has claimed it since.
      if (held.givenTo !== undefined) this.#install(hub, client, held)
      return
    }
    if (this.#spoilt('owner without the word of the former one')) {
      view.former[client] = undefined
      if (!held || held.givenTo !== undefined) this.#rebuild(hub, client)
      return
    }
    const reachable = this.hubs.filter(one => one !== hub && one.isAtWork && !one.isCutOff)
    // Whoever has it gives it to the owner that it knows itself by the stream.
    const from = reachable.find(one => one.held.has(client))
    const there = from?.held.get(client)
    if (from && there) {
      if (there.givenTo === undefined || from.view.owner[client] !== hub.id) return
      view.former[client] = undefined
      this.#install(hub, client, there)
      from.held.delete(client)
      this.#append({ kind: 'journal', hub: hub.id, client, state: stateOf(hub.held.get(client) as Held) })
      this.#note(`hub ${hub.id} has session ${client} from hub ${from.id}`)
      return
    }
    const named = reachable.find(({ id }) => id === former)
    if (!held || !named || named.view.owner[client] === named.id) return
    // Given away and never fetched, and claimed again since: the copy here is still the session.
    view.former[client] = undefined
    this.#install(hub, client, held)
  }

  /** Finds another hub dead when it was silent for longer than the lease. */
  #bury(hub: Hub, other: Hub): void {
    if (other.id === hub.id || !this.#isFresh(hub) || hub.place < this.log.length) return
    const { view } = hub
    const { life, offset } = view.beats[other.id] as View['beats'][number]
    if ((view.dead[other.id] as number) >= life) return
    if (!view.owner.some((owner, client) => owner === other.id || view.former[client] === other.id)) return
    const silence = this.now - (hub.heard.get(other.id) ?? this.now)
    if (!hub.heard.has(other.id)) hub.heard.set(other.id, this.now)
    if (silence < lease && !this.#spoilt('adoption without the lease')) return
    if (this.#random() < 0.7) return
    hub.verdicts.push({ kind: 'dead', hub: other.id, life, known: offset, by: hub.id })
    this.#note(`hub ${hub.id} finds hub ${other.id} dead`)
  }

  /** Writes the sessions into the stream, for the one that may have to go on with them. */
  #ship(hub: Hub): void {
    if (!hub.isAtWork || hub.isCutOff) return
    for (const [client, held] of hub.held) {
      if (held.givenTo !== undefined || !this.#mayAdvance(hub, client)) continue
      this.#append({ kind: 'journal', hub: hub.id, client, state: stateOf(held) })
    }
  }

  #connect(client: number, hub: Hub): void {
    if (!hub.isAtWork || this.at[client] === hub.id) return
    this.at[client] = hub.id
    // A hub that is cut off refuses kept sessions.
    if (hub.isCutOff) return
    this.#append({ kind: 'claim', hub: hub.id, client })
    this.#note(`client ${client} connects to hub ${hub.id}`)
  }

  #deliver(client: number): void {
    for (const hub of this.hubs) {
      const held = hub.held.get(client)
      if (!held || !this.#mayAdvance(hub, client)) continue
      const told = held.queue.shift()
      if (!told) return
      this.received[client]?.push(told)
      this.#note(`client ${client} acknowledges ${name(told)} to hub ${hub.id}`)
      return
    }
  }

  #isFresh(hub: Hub): boolean {
    const isHeard = this.now - hub.echoSentAt < lease / 2
    return isHeard && (this.now - hub.freshSince >= lease / 2 || this.#spoilt('no wait after being stale'))
  }

  #mayAdvance(hub: Hub, client: number): boolean {
    const held = hub.held.get(client)
    if (!hub.isAtWork || !held || held.givenTo !== undefined || !this.#isFresh(hub)) return false
    return hub.view.owner[client] === hub.id && hub.view.former[client] === undefined
  }

  #retain(hub: Hub, told: Told): void {
    if (!told.retained) return
    const own = hub.spool.findLast(one => one.retained)
    const isPending = own && !this.#hasRead(hub, own)
    if (isPending) return
    if (
      this.#spoilt('retained messages seen before are skipped') &&
      told.sequence <= (this.#seen(hub)[told.hub] as number)
    )
      return
    this.#seen(hub)[told.hub] = told.sequence
    hub.retained = told
  }

  readonly #seenBy = new Map<Hub, number[]>()

  #seen(hub: Hub): number[] {
    const seen = this.#seenBy.get(hub) ?? this.#zeros()
    this.#seenBy.set(hub, seen)
    return seen
  }

  /** Whether an own message stands in the stream in front of the place. */
  #hasRead(hub: Hub, told: Told): boolean {
    return this.log
      .slice(0, hub.place)
      .some(({ body }) => body.kind === 'messages' && body.messages.some(one => isSame(one, told)))
  }

  // — checks —

  #checkOwners(): void {
    for (let client = 0; client < clientCount; client++) {
      const owners = this.hubs.filter(hub => this.#mayAdvance(hub, client))
      if (owners.length > 1)
        throw new Violation(`session ${client} is advanced by hubs ${owners.map(({ id }) => id).join(' and ')}`)
    }
  }

  /** Returns a promise that is not kept yet, in words. */
  #unkept(): string | undefined {
    const sent = new Set(this.log.flatMap(({ body }) => (body.kind === 'messages' ? body.messages.map(name) : [])))
    const accepted = this.hubs.flatMap(({ spool }) => spool.map(name))
    const residual = accepted.filter(one => !sent.has(one))
    if (residual.length > 0) return `residual ${residual.length}: ${residual.join(', ')}`
    for (const [client, received] of this.received.entries()) {
      for (const { id, spool } of this.hubs) {
        const first = [...new Set(received.filter(({ hub }) => hub === id).map(({ sequence }) => sequence))]
        const wanted = spool.map(({ sequence }) => sequence)
        const missing = wanted.filter(sequence => !first.includes(sequence))
        if (missing.length > 0) return `client ${client} lacks ${missing.join(', ')} of hub ${id}`
        if (first.some((sequence, at) => sequence !== wanted[at]))
          return `client ${client} has messages of hub ${id} out of order: ${first.join(', ')}`
      }
    }
    const values = new Set(this.hubs.map(({ retained }) => retained && name(retained)))
    return values.size > 1 ? `hubs have different retained messages: ${[...values].join(', ')}` : undefined
  }

  #note(what: string): void {
    this.trace.push(`${this.now}: ${what}`)
  }
}

const name = ({ hub, sequence }: Told) => `${'ABC'[hub]}${sequence}`

const isSame = (one: Told, other: Told) => one.hub === other.hub && one.sequence === other.sequence

const stateOf = ({ queue, cut }: Held): SessionState => ({ queue: [...queue], cut: [...cut] })

/** Returns a generator of numbers from 0 to 1 that are the same for the same seed (mulberry32). */
function randomOf(seed: number): () => number {
  let state = seed | 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
  }
}
