import { fits, type User, type Users } from './users.js'

/** Reason why a user may not use a client id. */
export interface ClientFault {
  /** For the device: names no other user and none of their client ids. */
  readonly reason: string
  /** For the log and for operators who may read the users file: names the user of the client id. */
  readonly detail: string
}

interface Bound {
  readonly pattern: string
  readonly user: string
}

/**
 * Client ids that are reserved: those that a user is bound to (`clients`), and the name of each user. Checks an id in a
 * few lookups, however many users there are: a thousand devices may connect at once.
 */
export class ClientIds {
  readonly #users: ReadonlyMap<string, User>
  /** Reserved patterns by the text before the first `*`, or by the whole pattern. */
  readonly #bound = new Map<string, Bound[]>()
  /** Lengths of the keys of `#bound`, each once. */
  readonly #lengths: ReadonlySet<number>

  constructor({ users }: Users) {
    this.#users = users
    for (const { name, clients } of users.values()) {
      for (const given of clients) {
        const pattern = given.replaceAll('{user}', name)
        const start = pattern.split('*', 1)[0] as string
        const all = this.#bound.get(start)
        if (all) all.push({ pattern, user: name })
        else this.#bound.set(start, [{ pattern, user: name }])
      }
    }
    this.#lengths = new Set([...this.#bound.keys()].map(start => start.length))
  }

  /** Returns why a user may not connect with a client id. Undefined when the id is allowed. */
  fault(name: string, clientId: string): ClientFault | undefined {
    const { clients = [] } = this.#users.get(name) ?? {}
    if (clients.length > 0) {
      if (clients.some(pattern => fits(pattern.replaceAll('{user}', name), clientId))) return undefined
      const reason = `user ${name} may not use the client id ${clientId}; allowed are ${clients.join(', ')}`
      return { reason, detail: reason }
    }
    const reason = `user ${name} may not use the client id ${clientId}; choose another, such as ${name}`
    if (clientId !== name && this.#users.has(clientId)) {
      return { reason, detail: `the client id ${clientId} is the name of another user, not of ${name}` }
    }
    const other = this.#others(name, clientId)
    return (
      other && { reason, detail: `the client id ${clientId} is reserved for user ${other.user} (${other.pattern})` }
    )
  }

  #others(name: string, clientId: string): Bound | undefined {
    for (const length of this.#lengths) {
      const found = length > clientId.length ? undefined : this.#bound.get(clientId.slice(0, length))
      const other = found?.find(({ pattern, user }) => user !== name && fits(pattern, clientId))
      if (other) return other
    }
    return undefined
  }
}
