import { createHash, createHmac, pbkdf2Sync, randomBytes } from 'node:crypto'

/** The one user of a cluster that asks for a login. */
export interface KafkaUser {
  readonly user: string
  readonly password: string
}

const mechanisms = ['PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512'] as const

/** The side of a broker in SASL on one connection: RFC 4616 and RFC 5802, without names that need escapes. */
export class BrokerLogin {
  static readonly mechanisms: readonly string[] = mechanisms
  isDone = false
  readonly #known: KafkaUser
  #mechanism = ''
  #first: { readonly bare: string; readonly answer: string; readonly salt: Buffer } | undefined

  constructor(known: KafkaUser) {
    this.#known = known
  }

  /** Returns whether the mechanism is one of {@link mechanisms}. */
  begin(mechanism: string): boolean {
    this.#mechanism = mechanism
    return BrokerLogin.mechanisms.includes(mechanism)
  }

  /** Returns the answer to a message of the client; undefined when the login has failed. */
  step(message: Buffer): Buffer | undefined {
    const { user, password } = this.#known
    const text = message.toString()
    if (this.#mechanism === 'PLAIN') {
      this.isDone = text === `\0${user}\0${password}` || text === `${user}\0${user}\0${password}`
      return this.isDone ? Buffer.alloc(0) : undefined
    }
    if (!this.#first) {
      const [, bare = '', name, nonce] = /^n,,(n=([^,]*),r=(.+))$/.exec(text) ?? []
      if (name !== user) return undefined
      const salt = randomBytes(16)
      const answer = `r=${nonce}${randomBytes(12).toString('hex')},s=${salt.toString('base64')},i=4096`
      this.#first = { bare, answer, salt }
      return Buffer.from(answer)
    }
    const { bare, answer, salt } = this.#first
    const [, unproved = '', nonce, proof = ''] = /^(c=biws,r=([^,]+)),p=(.+)$/.exec(text) ?? []
    if (!answer.startsWith(`r=${nonce},`)) return undefined
    const hash = this.#mechanism === 'SCRAM-SHA-512' ? 'sha512' : 'sha256'
    const mac = (key: Buffer, what: string) => createHmac(hash, key).update(what).digest()
    const salted = pbkdf2Sync(password, salt, 4_096, hash === 'sha512' ? 64 : 32, hash)
    const clientKey = mac(salted, 'Client Key')
    const all = `${bare},${answer},${unproved}`
    const signature = mac(createHash(hash).update(clientKey).digest(), all)
    const expected = Buffer.from(clientKey.map((byte, i) => byte ^ (signature[i] ?? 0))).toString('base64')
    this.isDone = proof === expected
    return this.isDone ? Buffer.from(`v=${mac(mac(salted, 'Server Key'), all).toString('base64')}`) : undefined
  }
}
