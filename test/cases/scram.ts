import { createHash, createHmac, pbkdf2Sync, randomBytes } from 'node:crypto'

/** What a client of SCRAM-SHA-256 says, written from RFC 5802 alone: it shares nothing with the hub's side. */
export class ScramClient {
  readonly first: Buffer
  readonly #password: string
  readonly #header: string
  readonly #bare: string
  #signature = ''

  /** The password is to be prepared. */
  constructor(name: string, password: string, { header = 'n,,', nonce = randomBytes(12).toString('hex') } = {}) {
    this.#password = password
    this.#header = header
    this.#bare = `n=${name.replaceAll('=', '=3D').replaceAll(',', '=2C')},r=${nonce}`
    this.first = Buffer.from(header + this.#bare)
  }

  /** client-final, of what the hub has answered; `change` makes another one of it before it is proved. */
  final(challenge: Buffer, change: (unproved: string) => string = text => text): Buffer {
    const text = challenge.toString()
    const [, nonce = '', salt = '', iterations = ''] = /^r=([^,]+),s=([^,]+),i=(\d+)$/.exec(text) ?? []
    const salted = pbkdf2Sync(this.#password, Buffer.from(salt, 'base64'), Number(iterations), 32, 'sha256')
    const clientKey = mac(salted, 'Client Key')
    const unproved = change(`c=${Buffer.from(this.#header).toString('base64')},r=${nonce}`)
    const message = `${this.#bare},${text},${unproved}`
    const signature = mac(createHash('sha256').update(clientKey).digest(), message)
    const proof = Buffer.from(clientKey.map((byte, i) => byte ^ (signature[i] ?? 0)))
    this.#signature = mac(mac(salted, 'Server Key'), message).toString('base64')
    return Buffer.from(`${unproved},p=${proof.toString('base64')}`)
  }

  /** Does the hub know the password? */
  believes(serverFinal: Buffer | undefined): boolean {
    return serverFinal?.toString() === `v=${this.#signature}`
  }
}

function mac(key: Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest()
}
