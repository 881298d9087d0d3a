import type { ScramExchange, ScramStep } from '../auth/principal.js'
import type { Authentication } from '../mqtt/codec.js'
import { protocolError } from '../mqtt/primitives.js'
import { type Fault, reasonCode } from '../mqtt/reason-codes.js'

type Auth = Authentication & { readonly code: number }

/** Enhanced authentication of one connection (MQTT 5 §4.12): the data of CONNECT and AUTH are steps of an exchange. */
export class EnhancedAuthentication {
  readonly method: string
  readonly #exchanged: () => ScramExchange | undefined
  #exchange: ScramExchange | undefined

  /** `exchanged` begins an exchange, and returns undefined when the method is not supported. */
  constructor(method: string, exchanged: () => ScramExchange | undefined) {
    this.method = method
    this.#exchanged = exchanged
  }

  /** Begins an exchange with the data of CONNECT. Undefined when the method is not supported. */
  begin(data: Buffer | undefined): ScramStep | undefined {
    this.#exchange = this.#exchanged()
    return this.#exchange && this.#step(this.#exchange, data)
  }

  /** Continues an exchange with the next AUTH. [MQTT-4.12.0-3] */
  continued({ code, data }: Auth): ScramStep {
    if (!this.#exchange || code !== reasonCode.continueAuthentication) {
      throw protocolError('MQTT-4.12.0-3', `an unexpected AUTH with reason code ${code}`)
    }
    return this.#step(this.#exchange, data)
  }

  /** Handles an AUTH of a connected client: begins re-authentication, or continues one. [MQTT-4.12.1-1] */
  again(auth: Auth): ScramStep | undefined {
    if (this.#exchange || auth.code !== reasonCode.reauthenticate) return this.continued(auth)
    return this.begin(auth.data)
  }

  #step(exchange: ScramExchange, data: Buffer | undefined): ScramStep {
    const step = exchange.step(data)
    if ('verdict' in step) this.#exchange = undefined
    return step
  }
}

export function unknownMethod(method: string): Fault {
  const reason = `${method.slice(0, 100)} is not a supported authentication method; supported is SCRAM-SHA-256, for users of auth.file`
  return { code: reasonCode.badAuthenticationMethod, reason }
}
