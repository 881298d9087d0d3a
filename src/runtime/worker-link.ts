import type { MessagePort, Worker } from 'node:worker_threads'
import { describe, type ErrorCode, HubError } from '../errors.js'
import type { Said } from '../model.js'

/** Functions that one thread offers to the other, each of at most one argument, which can be cloned. */
// biome-ignore lint/suspicious/noExplicitAny: the one place where any function of one argument is meant
export type Offers<T = Readonly<Record<string, unknown>>> = { readonly [Name in keyof T]: (argument: any) => unknown }

type Incoming =
  | { readonly kind: 'tell'; readonly name: string; readonly argument: unknown }
  | { readonly kind: 'call'; readonly name: string; readonly argument: unknown; readonly id: number }
  | { readonly kind: 'result'; readonly id: number; readonly value: unknown }
  | {
      readonly kind: 'error'
      readonly id: number
      readonly code: ErrorCode | undefined
      readonly message: string
      readonly said: Said | undefined
    }

interface PendingCall {
  resolve(value: never): void
  reject(error: Error): void
}

/**
 * Typed calls between two threads over one port, in order. `Remote` describes the functions of the other thread. An
 * error thrown there is thrown here, a `HubError` with its code. When the other thread has ended, `fail` rejects all
 * calls that wait for an answer.
 */
export class Link<Remote extends Offers<Remote>> {
  readonly #port: MessagePort | Worker
  readonly #waiting = new Map<number, PendingCall>()
  #calls = 0
  #gone: Error | undefined
  #isCut = false

  constructor(port: MessagePort | Worker, offers: object) {
    this.#port = port
    port.on('message', (incoming: Incoming) => this.#receive(incoming, offers as Offers))
  }

  /** Calls a function of the other thread and resolves with what that function returned. */
  call<Name extends keyof Remote & string>(
    name: Name,
    argument: Parameters<Remote[Name]>[0],
  ): Promise<Awaited<ReturnType<Remote[Name]>>> {
    if (this.#gone) return Promise.reject(this.#gone)
    const id = ++this.#calls
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject })
      this.#send({ kind: 'call', name, argument, id })
    })
  }

  /** Calls a function of the other thread without waiting for the result; errors are not reported back. */
  tell<Name extends keyof Remote & string>(name: Name, argument: Parameters<Remote[Name]>[0]): void {
    this.#send({ kind: 'tell', name, argument })
  }

  fail(error: Error): void {
    this.#gone = error
    for (const { reject } of this.#waiting.values()) reject(error)
    this.#waiting.clear()
  }

  /** Sends and receives nothing from now on: waiting calls never resolve. For a thread that is about to end. */
  cut(): void {
    this.#isCut = true
  }

  #send(message: Incoming): void {
    if (!this.#isCut) this.#port.postMessage(message)
  }

  #receive(incoming: Incoming, offers: Offers): void {
    if (this.#isCut) return
    if (incoming.kind === 'tell') offers[incoming.name]?.(incoming.argument)
    else if (incoming.kind === 'call') void this.#answer(incoming, offers)
    else {
      const waiting = this.#waiting.get(incoming.id)
      this.#waiting.delete(incoming.id)
      if (incoming.kind === 'result') waiting?.resolve(incoming.value as never)
      else waiting?.reject(errorOf(incoming))
    }
  }

  async #answer({ name, argument, id }: Incoming & { kind: 'call' }, offers: Offers): Promise<void> {
    try {
      const value = await offers[name]?.(argument)
      this.#send({ kind: 'result', id, value })
    } catch (error) {
      const { code, said } = error instanceof HubError ? error : { code: undefined, said: undefined }
      this.#send({ kind: 'error', id, code, message: describe(error), said })
    }
  }
}

function errorOf({ code, message, said }: Incoming & { kind: 'error' }): Error {
  return code ? new HubError(code, message, { said }) : new Error(message)
}

/** Returns an object whose every method calls `call` with the name and the argument of the method. */
export function remote<Api extends object>(call: (name: keyof Api, argument: unknown) => Promise<unknown>): Api {
  return new Proxy({} as Api, { get: (_, name) => (argument: unknown) => call(name as keyof Api, argument) })
}
