import type { ScramStep } from '../../auth/principal.js'
import type { Authentication, PacketCodec } from '../../mqtt/codec.js'
import type { Framer } from '../../mqtt/framer.js'
import { packetType, protocolError } from '../../mqtt/primitives.js'
import { reasonCode } from '../../mqtt/reason-codes.js'
import type { Client } from '../client.js'
import { EnhancedAuthentication, unknownMethod } from '../enhanced-authentication.js'
import { admit } from './admit.js'

/* Enhanced authentication (MQTT 5 §4.12): AUTH before and after CONNACK. */

/** Begins enhanced authentication, with the data of CONNECT. */
export function beginExchange(
  client: Client,
  codec: PacketCodec,
  { method, data }: Authentication,
  username: string | undefined,
): void {
  client.authentication = new EnhancedAuthentication(method, () =>
    client.broker.policy.exchange(client, method, client.user || username),
  )
  const step = client.authentication.begin(data)
  if (step) advance(client, codec, step)
  else client.refuseConnect(unknownMethod(method))
}

/** Handles AUTH before CONNACK. Together with DISCONNECT that is the only packet that may come. [MQTT-3.1.2-30] */
export function handleEarlyAuth(client: Client, codec: PacketCodec, framer: Framer): void {
  const { header, buffer, start, end } = framer
  const type = header >> 4
  const { authentication } = client
  if (type !== packetType.auth || !authentication) {
    throw protocolError('MQTT-3.1.2-30', `a packet of type ${type} before CONNACK`)
  }
  client.connection.connecting()
  advance(client, codec, authentication.continued(codec.readAuth(header, buffer, start, end)))
}

function advance(client: Client, codec: PacketCodec, step: ScramStep): void {
  if ('verdict' in step) admit(client, step.verdict, step.data)
  else {
    sendAuth(client, codec, reasonCode.continueAuthentication, step.challenge)
    client.connection.awaitAuthPacket()
  }
}

/** Handles AUTH of a connected client, which authenticates again and goes on meanwhile. (MQTT 5 §4.12.1) */
export function handleAuth(client: Client, codec: PacketCodec, framer: Framer): void {
  const { header, buffer, start, end } = framer
  client.connection.spend(end - start)
  const auth = codec.readAuth(header, buffer, start, end)
  const step = client.authentication?.again(auth)
  if (step && 'challenge' in step) {
    sendAuth(client, codec, reasonCode.continueAuthentication, step.challenge)
    return
  }
  const verdict = step ? client.broker.policy.judge(client, step.verdict) : unknownMethod(auth.method)
  if ('code' in verdict) {
    const { serverBusy, notAuthorized } = reasonCode
    // DISCONNECT has no reason code for a wrong password or an unknown method.
    client.connection.end({ ...verdict, code: verdict.code === serverBusy ? serverBusy : notAuthorized })
  } else {
    client.principal = verdict
    sendAuth(client, codec, reasonCode.success, step?.data)
  }
}

function sendAuth(client: Client, codec: PacketCodec, code: number, data: Buffer | undefined): void {
  client.answer(codec.auth(code, { method: client.authentication?.method ?? '', data }))
}
