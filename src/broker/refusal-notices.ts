import type { Auditor } from '../observe/audit.js'
import type { Counters } from '../observe/counters.js'
import { type DebugLog, rateLimited } from '../observe/log.js'
import type { RefusalCounts } from '../observe/refusal-counts.js'
import type { MicrosecondClock } from '../runtime/time.js'
import type { Sharing } from '../runtime/user-shares.js'
import { hubTopics } from '../topics.js'
import type { BrokerClient } from './broker-client.js'
import { ClientPages, type PageStore } from './client-pages.js'
import type { Presence } from './presence.js'
import type { Restoration } from './restoration.js'
import { isTooLongToShow, short } from './sentences.js'

/** An action of a client that may be refused; `receive`: no more messages of a subscription. */
export type Action = 'connect' | 'publish' | 'subscribe' | 'receive'

/** Why a client was refused, as metrics count refusals. */
export type RefusalReason = Action | 'bad_credentials' | 'auth_busy'

/** A refused CONNECT, or refused re-authentication. */
export interface ConnectRefusal {
  readonly reason: RefusalReason
  /** The user, if the client is known to be that user's; empty otherwise. */
  readonly user: string
  /** Why, for the log. */
  readonly detail: string
  /** Why, as the client is sent. */
  readonly sent: string
  /** True for a client that is known here: an unauthenticated client must not invent a device. */
  readonly isKnown: boolean
  /** The topic that is the reason; empty when none is. */
  readonly topic: string
}

export interface RefusalNoticesOptions {
  readonly counters: Pick<Counters, 'refuse'>
  /** Refused publishes, for the balance. */
  readonly balance: Pick<RefusalCounts, 'add'>
  readonly presence: Presence
  readonly pages: PageStore
  readonly restoration: Pick<Restoration, 'afterwards'>
  readonly sharing: Sharing
  readonly clock: MicrosecondClock
  readonly audit: Auditor
  readonly log: DebugLog
}

/**
 * What clients were refused: each refusal is counted, audited, logged, and retained at `$hub/why/…`, where the
 * developer of the device will look.
 */
export class RefusalNotices {
  readonly #options: RefusalNoticesOptions
  readonly #pages: ClientPages
  /** Logs refusals at a limited rate, as unauthenticated clients can cause any number of them. */
  readonly #say: (sentence: string) => void

  constructor(options: RefusalNoticesOptions) {
    const { log, pages: store, sharing } = options
    this.#options = options
    this.#say = rateLimited(sentence => log.info(sentence))
    this.#pages = new ClientPages({ topicOf: hubTopics.why, everyTopic: hubTopics.everyWhy, store, sharing, log })
  }

  /** Called when what is retained is restored. */
  restore(): void {
    for (const { name, page } of this.#pages.restored()) this.#pages.restore(name, page.user)
  }

  /** Called when a client id shows this user's client from now on. */
  claim({ id, user }: BrokerClient): void {
    this.#options.restoration.afterwards(() => this.#pages.claim(id, user))
  }

  /** Reports that a client may not connect, or not go on. */
  refusedConnect({ id, user: before, connection }: BrokerClient, refusal: ConnectRefusal): void {
    const { address, listener: via } = connection.peer
    const { reason, user, detail, sent, isKnown, topic } = refusal
    this.#options.counters.refuse(reason)
    this.#say(`refused ${short(id)} at ${address} to connect: ${short(detail)}`)
    const event = { event: 'refused', result: 'refused', reason, address, via, client: id, detail } as const
    this.#options.audit.repeated({ ...event, user: user || before })
    if (isKnown) this.#show(id, user || before, 'connect', topic, sent)
  }

  /**
   * Reports that a connected client was refused something. For publishes the reason is logged at most once a second for
   * each client, which may be refused a hundred thousand times.
   */
  refused(client: BrokerClient, action: Action, topic: string, reason: string, detail = reason): void {
    const { id, user, connection } = client
    const { address, listener: via } = connection.peer
    this.#count(action, id)
    const event = { event: 'refused', result: 'refused', reason: action, user, address, via, client: id } as const
    this.#options.audit.repeated({ ...event, what: topic, detail })
    const now = this.#options.clock.now()
    if (action === 'publish' && now - client.refusedAt < 1e6) return
    client.refusedAt = now
    this.#say(`refused ${short(id)} to ${action}${topic && ` ${short(topic)}`}: ${short(detail)}`)
    this.#show(id, user, action, topic, reason)
  }

  /** Reports that a packet was too large to be read: nothing tells a client before MQTT 5, which would send it again. */
  refusedPacket({ id, user, connection }: BrokerClient, reason: string): void {
    const { audit, balance, counters } = this.#options
    const { address, listener: via } = connection.peer
    counters.refuse('packet_too_large')
    balance.add(id, 'packet_too_large')
    const event = { event: 'refused', result: 'refused', reason: 'packet_too_large', user, address, via } as const
    audit.repeated({ ...event, client: id, detail: reason })
    this.#say(`refused ${short(id)} to publish: ${short(reason)}`)
    this.#show(id, user, 'publish', '', reason)
  }

  /** Shows that a client has taken the place of another connection, if there is a sentence about that. */
  hasTakenOver({ id, user }: BrokerClient, sentence: string | undefined): void {
    if (sentence !== undefined) this.#show(id, user, 'connect', '', sentence)
  }

  /** Reports that the will of a client that is gone was refused. */
  refusedWill(clientId: string, user: string, topic: string, reason: string): void {
    this.#count('publish', clientId)
    const event = { event: 'refused', result: 'refused', reason: 'publish', user, client: clientId } as const
    this.#options.audit.repeated({ ...event, what: topic, detail: `its will: ${reason}` })
    this.#options.log.info(`the will of ${short(clientId)} on ${short(topic)} is refused: ${short(reason)}`)
    this.#show(clientId, user, 'publish', topic, reason)
  }

  /** Reports that a user may not publish what came without an MQTT connection. The request is logged where it came in. */
  refusedRequest(clientId: string, user: string, topic: string, reason: string, messages: number): void {
    for (let n = 0; n < messages; n++) this.#count('publish', clientId)
    this.#show(clientId, user, 'publish', topic, reason)
  }

  /** Counts a message that this hub has sent away before, and that is not taken again. */
  looped(): void {
    this.#options.counters.refuse('loop')
  }

  /** Clears the refusals of a client that is removed. Returns whether there were any. */
  remove(user: string, clientId: string): boolean {
    return this.#pages.remove(clientId, user)
  }

  #count(action: Action, clientId: string): void {
    const { balance, counters } = this.#options
    counters.refuse(action)
    if (action === 'publish') balance.add(clientId, 'not_permitted')
  }

  #show(clientId: string, user: string, action: Action, topic: string, reason: string): void {
    const { clock, presence, restoration } = this.#options
    // An unauthenticated client must not write on the page of a connected one.
    const isStrangers = user === '' && (presence.holderOf(clientId)?.user ?? '') !== ''
    if (isTooLongToShow(clientId) || isStrangers) return
    const time = Math.floor(clock.now() / 1_000)
    const [shownUser, shownTopic, shownReason] = [user, topic, reason].map(short)
    const page = { clientId, user: shownUser, action, topic: shownTopic, reason: shownReason, time }
    const name = presence.nameOf(user, clientId)
    restoration.afterwards(() => this.#pages.show(name, user, page))
  }
}
