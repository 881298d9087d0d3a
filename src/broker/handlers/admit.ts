import type { Principal, Verdict } from '../../auth/principal.js'
import type { ConnackFields, ConnectPacket, Will } from '../../mqtt/codec.js'
import { type Fault, reasonCode } from '../../mqtt/reason-codes.js'
import { sessionName } from '../../sessions/session-name.js'
import { responsesTo, withoutGroup } from '../../topics.js'
import type { Controlled } from '../aedes-handshake.js'
import { answerTooLarge, type Client } from '../client.js'

/**
 * Ends the handling of CONNECT with the verdict on the client: refuses the client, or hands the client to Aedes, whose
 * decisions arrive at {@link ConnectingClient}. `data`: the last step of enhanced authentication.
 */
export function admit(client: Client, verdict: Verdict, data?: Buffer): void {
  const { broker, connect, connection } = client
  if (connect && !connection.isClosed && !('refused' in verdict)) {
    const name = sessionName(verdict.user, client.id)
    if (broker.restoration.delays(name, needsSessions(client, connect))) {
      connection.keepWaiting()
      broker.restoration.wait(name, () => decide(client, verdict, data))
      return
    }
  }
  decide(client, verdict, data)
}

/** Returns whether CONNECT asks for what is restored at a start: a session that is kept, or a will that is. */
function needsSessions(client: Client, { clean, sessionExpiry, will }: ConnectPacket): boolean {
  return !clean || client.grantedExpiry(sessionExpiry) > 0 || will !== undefined
}

function decide(client: Client, verdict: Verdict, data: Buffer | undefined): void {
  const { broker, codec, connect } = client
  const judged: Principal | Fault = broker.policy.judge(client, verdict)
  if (client.connection.isClosed || !codec || !connect) return
  if ('code' in judged) {
    client.refuseConnect(judged)
    return
  }
  client.principal = judged
  client.user = judged.user
  client.name = sessionName(judged.user, client.id)
  const authentication = client.authentication && { method: client.authentication.method, data }
  const authenticated = { ...connect, authentication }
  client.connect = authenticated
  // A client that takes no packet as large as CONNACK is refused before replacing another and before leaving a will.
  if (!codec.accepted(connackFields(client, authenticated))) client.refuseConnect(answerTooLarge)
  else {
    if (broker.presence.entered(client)) broker.refusals.claim(client)
    client.aedes = broker.handshake.open(new ConnectingClient(client))
  }
}

/** Returns the fields of CONNACK, apart from those of the session. */
function connackFields(client: Client, connect: ConnectPacket): ConnackFields {
  const { protocol, clientId, sessionExpiry, keepAlive, authentication } = connect
  const granted = client.connection.grantedKeepAlive(keepAlive, protocol === 5)
  const expiry = client.grantedExpiry(sessionExpiry)
  return {
    sessionPresent: false,
    assignedClientId: clientId === '' ? client.id : undefined,
    sessionExpiry: expiry === sessionExpiry ? undefined : expiry,
    keepAlive: granted === keepAlive ? undefined : granted,
    responseInformation: undefined,
    authentication,
  }
}

/** The decisions of Aedes about one client: admitted, in whose place, replaced, gone. */
class ConnectingClient implements Controlled {
  readonly #client: Client

  constructor(client: Client) {
    this.#client = client
  }

  get id(): string {
    return this.#client.id
  }

  get user(): string {
    return this.#client.user
  }

  get name(): string {
    return this.#client.name
  }

  get will(): Will | undefined {
    return this.#client.connect?.will
  }

  /** Opens the session and sends CONNACK. */
  answered(code: number): void {
    const client = this.#client
    const { broker, codec, connect } = client
    if (!connect || !codec || client.connection.isClosed) return
    if (code !== 0) {
      client.refuseConnect({ code: reasonCode.serverUnavailable, reason: `not accepted (${code})` })
      return
    }
    const { clean, requestResponse } = connect
    const expiry = client.grantedExpiry(connect.sessionExpiry)
    const { session, present } = broker.restoration.isOver
      ? broker.sessions.open(client.id, { clean, expiry, user: client.user })
      : { session: broker.sessions.start.open(client.id, client.user), present: false }
    client.session = session
    const responses = responsesTo(client.id)
    const mayRespond = requestResponse && session.access?.subscribe(responses).allowed !== false
    // [MQTT-3.2.2-2]
    const connack = codec.accepted({
      ...connackFields(client, connect),
      sessionPresent: present,
      responseInformation: mayRespond ? responses : undefined,
    })
    if (!client.answer(connack)) return
    session.attach(client)
    const filters = [...session.subscriptions].map(([filter]) => filter)
    for (const filter of filters) client.startHistory(filter)
    if (filters.length > 0) broker.commands?.onSubscribed(filters.map(withoutGroup))
  }

  ready(): void {
    const client = this.#client
    const { connect, connection } = client
    if (!client.session || !connect) return
    const { policy, presence, clock } = client.broker
    client.connectedAt = clock.now()
    client.broker.refusals.hasTakenOver(client, presence.connected(client))
    // The user may have changed since the credentials were checked.
    if (!policy.dismissed(client)) presence.admitted(client)
    // No longer needed, and possibly large.
    client.connect = undefined
    const isTold = connect.protocol === 5
    connection.open(connection.grantedKeepAlive(connect.keepAlive, isTold), isTold)
  }

  end(): void {
    const client = this.#client
    if (!client.isLeaving && !client.connection.isClosed) client.broker.presence.replaced(client)
    client.end(takenOver)
  }

  left(): void {
    const client = this.#client
    const { isClosed, endReason = 'its network connection ended without a DISCONNECT' } = client.connection
    // Aedes reports a replaced client as gone before closing the connection.
    const reason = isClosed ? endReason : takenOver.reason
    client.broker.presence.left(client, client.isLeaving ? 'it sent DISCONNECT' : reason)
  }
}

const takenOver: Fault = { code: reasonCode.sessionTakenOver, reason: 'another connection took over its client id' }
