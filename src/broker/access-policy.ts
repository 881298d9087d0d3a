import { type Access, ownShadow } from '../access/rules.js'
import type { Authority } from '../auth/admission.js'
import type { Principal, ScramExchange, Verdict } from '../auth/principal.js'
import type { ConnectPacket } from '../mqtt/codec.js'
import { type Fault, reasonCode } from '../mqtt/reason-codes.js'
import { charge, type Work } from '../runtime/work.js'
import { sessionName } from '../sessions/session-name.js'
import { beyondShare, type Sessions, type SubscriptionLimits, topicsOf } from '../sessions/sessions.js'
import { publishFault, sharedFilter, tooDeep, tooLong } from '../topics.js'
import type { ClientFault } from '../users/user-directory.js'
import { bridgeStateTopic } from './bridge-states.js'
import type { BrokerClient } from './broker-client.js'
import type { Presence } from './presence.js'
import type { RefusalNotices, RefusalReason } from './refusal-notices.js'
import { faultOf, genericReasons, noLonger } from './sentences.js'
import type { TopicService, TopicServices } from './topic-services.js'

/** The part of the authority that the broker asks. */
export type BrokerAuthority = Pick<
  Authority,
  'open' | 'authenticate' | 'exchange' | 'access' | 'clientFault' | 'user' | 'shares'
>

export interface AccessPolicyOptions {
  readonly authority: BrokerAuthority
  readonly sessions: Pick<Sessions, 'find'>
  readonly presence: Presence
  readonly refusals: RefusalNotices
  readonly subscriptions: SubscriptionLimits
  readonly services: Pick<TopicServices, 'find' | 'nameFault'>
  readonly work: Work
  /** Clients connected at a time. */
  readonly connections: number
  readonly sysReadable: boolean
}

/** Publishers of retained messages whose rights are cached. */
const maxPublishers = 1_000

/** Decides who may connect, publish, subscribe, and have retained messages delivered. */
export class AccessPolicy {
  readonly #options: AccessPolicyOptions
  /** Rights of publishers of retained messages, by session name. */
  readonly #publishers = new Map<string, Access>()

  constructor(options: AccessPolicyOptions) {
    this.#options = options
  }

  // — connecting —

  /** Authenticates a client. Calls `done` once. */
  authenticate(client: BrokerClient, connect: ConnectPacket, done: (verdict: Verdict) => void): void {
    const { address, certificate } = client.connection.peer
    const { username, password } = connect
    const shown = { address, certificate, username, password: password?.toString() }
    const isGone = () => client.connection.isClosed
    this.#options.authority.authenticate({ ...shown, isGone }, done)
  }

  /** Begins enhanced authentication. Returns undefined when the method is not supported. */
  exchange(client: BrokerClient, method: string, username: string | undefined): ScramExchange | undefined {
    return this.#options.authority.exchange(method, { address: client.connection.peer.address, username })
  }

  /** Decides whether a client may connect with these credentials, id and will, or go on after re-authentication. */
  judge(client: BrokerClient, verdict: Verdict): Principal | Fault {
    if ('refused' in verdict) {
      return verdict.refused === 'busy'
        ? this.#refuse(client, 'auth_busy', reasonCode.serverBusy, '', verdict.why)
        : this.#refuse(client, 'bad_credentials', reasonCode.badCredentials, '', verdict.why)
    }
    const { id, connect, user: before } = client
    const { user } = verdict
    const fault =
      (before && user !== before ? `user ${before} authenticated again as ${user}` : undefined) ??
      this.#options.authority.clientFault(user, id) ??
      (connect?.will && this.#connectWillFault(connect.will.topic, user, id, connect.protocol))
    if (fault) {
      const { reason, detail } = explained(fault)
      return this.#refuse(client, 'connect', reasonCode.notAuthorized, user, detail, reason)
    }
    const { connections, presence } = this.#options
    const isNew = connect !== undefined && !presence.find(sessionName(user, id))
    if (!isNew || presence.perUser.admits(user, 1, connections)) return verdict
    const tooMany = beyondShare('connections', 'limits.connections')
    return this.#refuse(client, 'connect', reasonCode.quotaExceeded, user, tooMany)
  }

  #refuse(
    client: BrokerClient,
    reason: RefusalReason,
    code: number,
    user: string,
    detail: string,
    ownReason = detail,
  ): Fault {
    const { id, connect, user: before } = client
    const { presence, refusals, sessions } = this.#options
    const sent = user ? ownReason : (genericReasons[code] ?? detail)
    // An unauthenticated client must not invent a device, nor write on the page of one that is connected.
    const session = sessions.find(sessionName(connect?.username ?? '', id))
    const isKnown = (user || before) !== '' || presence.isAbsent(id) || session?.attached === false
    const topic = (user && connect?.will?.topic) || ''
    refusals.refusedConnect(client, { reason, user, detail, sent, isKnown, topic })
    return { code, reason: sent }
  }

  /** Closes connected clients that are no longer admitted. */
  dismissAll(): void {
    const { authority, presence } = this.#options
    for (const client of [...presence.all()]) {
      const fault = client.isValid() ? authority.clientFault(client.user, client.id) : noLonger
      if (fault) this.#dismiss(client, fault)
    }
  }

  /** Closes a connected client if its user or credentials have changed since they were checked. Returns whether so. */
  dismissed(client: BrokerClient): boolean {
    if (client.isValid()) return false
    this.#dismiss(client, noLonger)
    return true
  }

  #dismiss(client: BrokerClient, fault: string | ClientFault): void {
    const { reason, detail } = explained(fault)
    this.#options.refusals.refused(client, 'connect', '', reason, detail)
    client.connection.end({ code: reasonCode.notAuthorized, reason })
  }

  // — publishing —

  /** Returns why a client may not publish to a topic; undefined when the client may. */
  publishFault(client: BrokerClient, topic: string): Fault | undefined {
    const { session, user } = client
    const access = session?.access
    const service = this.#options.services.find(topic)
    let reason: string | undefined
    if (service) reason = this.#serviceFault(client, service, topic)
    else if (topic.charCodeAt(0) === 36) reason = publishFault(topic)
    else if (access && !access.mayPublish(topic)) reason = faultOf(access.publish(topic), user)
    return reason === undefined ? undefined : { code: reasonCode.notAuthorized, reason }
  }

  #serviceFault({ id: clientId, session, user }: BrokerClient, service: TopicService, topic: string) {
    const decision = session?.access?.publish(topic)
    return faultOf(decision ?? allowed, user) ?? service.fault({ user, clientId }, topic, decision?.rule === ownShadow)
  }

  /** Returns why the will of a client that is gone may not be published; undefined when allowed. */
  willFault(topic: string, user: string, clientId: string): string | undefined {
    return publishFault(topic) ?? this.#ruleFault(topic, user, clientId)
  }

  /** Returns why a client may not connect with such a will. */
  #connectWillFault(topic: string, user: string, clientId: string, protocol: number): string | undefined {
    if (topic === bridgeStateTopic(clientId)) return undefined
    // Before MQTT 5 the client cannot be sent the reason: there the will is refused when due.
    const fault = protocol === 5 ? publishFault(topic) : undefined
    return fault ?? this.#ruleFault(topic, user, clientId)
  }

  #ruleFault(topic: string, user: string, clientId: string): string | undefined {
    const access = this.#options.authority.access(user, clientId)
    return access && faultOf(access.publish(topic), user)
  }

  /** Returns whether a retained message may be delivered: the publisher must still exist and be allowed the topic. */
  mayRetain(user: string, clientId: string, topic: string): boolean {
    const { authority } = this.#options
    if (authority.open) return true
    const name = sessionName(user, clientId)
    let access = this.#publishers.get(name)
    if (!access) {
      access = authority.access(user, clientId)
      if (!access) return true
      if (this.#publishers.size >= maxPublishers) this.#publishers.clear()
      this.#publishers.set(name, access)
    }
    return access.mayPublish(topic)
  }

  // — subscribing —

  /** Returns why a client may not subscribe with a filter; undefined when the client may. */
  subscribeFault(client: BrokerClient, filter: string): Fault | undefined {
    this.#options.work.done += charge.filter
    const invalid = (reason: string): Fault => ({ code: reasonCode.topicFilterInvalid, reason })
    const refused = (reason: string): Fault => ({ code: reasonCode.notAuthorized, reason })
    const large = tooLong('topic filter', filter) ?? tooDeep('topic filter', filter)
    if (large) return invalid(large)
    const shared = sharedFilter(filter)
    if (shared && 'fault' in shared) return invalid(shared.fault)
    const topics = shared?.filter ?? filter
    if (topics.startsWith('$SYS') && !this.#options.sysReadable) return refused('$SYS may not be read (sys.read)')
    const { session, user } = client
    if (!session) return undefined
    const decision = session.access?.subscribe(topics)
    if (decision && !decision.allowed) return refused(faultOf(decision, user) ?? '')
    const names = { user, clientId: client.id }
    const notOwn = decision?.rule === ownShadow ? this.#options.services.nameFault(names, topics) : undefined
    if (notOwn) return refused(notOwn)
    const tooMany = this.#options.subscriptions.fault(session, filter, topics)
    return tooMany === undefined ? undefined : { code: reasonCode.quotaExceeded, reason: tooMany }
  }

  // — changes —

  /** Called when users or rights have changed: forgets what was cached. */
  forget(): void {
    this.#publishers.clear()
  }

  /** Called when the rights of the sessions were narrowed: reports clients that receive nothing of a subscription. */
  reportSilenced(): void {
    const { presence, refusals } = this.#options
    for (const client of presence.all()) {
      const { session, user } = client
      const silent = [...(session?.subscriptions.values() ?? [])].find(({ reach }) => reach === 'none')
      if (!silent) continue
      const fault = faultOf(session?.access?.subscribe(topicsOf(silent)), user) ?? ''
      refusals.refused(client, 'receive', silent.filter, fault)
    }
  }
}

const allowed = { allowed: true, rule: undefined }

function explained(fault: string | ClientFault): ClientFault {
  return typeof fault === 'string' ? { reason: fault, detail: fault } : fault
}
