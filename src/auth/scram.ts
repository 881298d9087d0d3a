import { createHash, createHmac, pbkdf2Sync, randomBytes, timingSafeEqual } from 'node:crypto'

/*
 * The server's side of SCRAM-SHA-256 (RFC 5802, RFC 7677), without channel binding. A password never crosses the wire, and
 * the client learns that the hub knows it, too:
 *
 *   client → hub   n,,n=NAME,r=NONCE
 *   client ← hub   r=NONCE MORE,s=SALT,i=ITERATIONS
 *   client → hub   c=biws,r=NONCE MORE,p=PROOF
 *   client ← hub   v=SIGNATURE
 */

export const scramMethod = 'SCRAM-SHA-256'

/**
 * Of every user, and of names that are nobody's: whoever asks learns no difference. RFC 7677 wants 4,096 at least; a
 * client counts them at each connection unless it keeps the key.
 */
export const iterations = 100_000

/** Bytes: a name and two nonces need no more. */
const maxMessage = 4_096
const maxNonce = 1_024

const saltBytes = 16
const keyBytes = 32

/** What is kept of a password: it proves that somebody knows the password, and does not let in who has stolen it. */
export interface ScramSecret {
  readonly iterations: number
  readonly salt: Buffer
  readonly storedKey: Buffer
  readonly serverKey: Buffer
}

/** What a client says first. */
export interface ClientFirst {
  readonly name: string
  /** About channel binding and on whose behalf; the client repeats it under its proof. */
  readonly header: string
  /** The rest, which is under the proof as it was sent. */
  readonly bare: string
  readonly nonce: string
}

/**
 * A password as SASLprep (RFC 4013) makes it, so that however it is typed it has the same bytes. Undefined when it has
 * none: of characters it forbids, such as control characters or those that Unicode 3.2 did not know.
 */
export async function preparePassword(password: string): Promise<string | undefined> {
  if (/^[\x20-\x7e]+$/.test(password)) return password
  // Its tables take 5 MB, which a hub has no use for.
  const { saslprep } = await import('@mongodb-js/saslprep')
  try {
    return saslprep(password) || undefined
  } catch {
    return undefined
  }
}

/**
 * What is kept of a password that is prepared, in a line as PostgreSQL writes it, of the fields of RFC 5803:
 * `SCRAM-SHA-256$100000:SALT$STOREDKEY:SERVERKEY`. Takes tens of milliseconds: off the broker thread.
 */
export function makeScram(prepared: string): string {
  const salt = randomBytes(saltBytes)
  const salted = pbkdf2Sync(prepared, salt, iterations, keyBytes, 'sha256')
  return line(salt, hash(hmac(salted, 'Client Key')), hmac(salted, 'Server Key'))
}

/** Of a name that has none: a salt that is always the same with the same key, and no password that fits. */
export function decoyScram(name: string, key: Buffer): string {
  const nothing = Buffer.alloc(keyBytes)
  return line(hmac(key, name).subarray(0, saltBytes), nothing, nothing)
}

function line(...parts: readonly [salt: Buffer, storedKey: Buffer, serverKey: Buffer]): string {
  const [salt, stored, server] = parts.map(part => part.toString('base64'))
  return `${scramMethod}$${iterations}:${salt}$${stored}:${server}`
}

export function parseScram(text: string): ScramSecret | undefined {
  const [, count, salt, stored, server] =
    /^SCRAM-SHA-256\$(\d{1,7}):([A-Za-z0-9+/]{22}==)\$([A-Za-z0-9+/]{43}=):([A-Za-z0-9+/]{43}=)$/.exec(text) ?? []
  if (!count || !salt || !stored || !server) return undefined
  return {
    iterations: Number(count),
    salt: Buffer.from(salt, 'base64'),
    storedKey: Buffer.from(stored, 'base64'),
    serverKey: Buffer.from(server, 'base64'),
  }
}

/** Is it what {@link makeScram} makes? One of other iterations would tell who is there. */
export function isScram(text: string): boolean {
  return parseScram(text)?.iterations === iterations
}

/** What a client says first, or why that is no beginning, in words. */
export function readClientFirst(data: Buffer): ClientFirst | string {
  const text = readText(data)
  if (text === undefined) return 'what it says first is no SCRAM message'
  if (text.startsWith('p=')) return 'it asks for channel binding, which is not spoken'
  const [, header, onBehalf, bare] = /^([ny],(?:a=([^,]*))?,)(.*)$/s.exec(text) ?? []
  const [, given, nonce = '', more = ''] =
    /^n=([^,]*),r=([\x21-\x2b\x2d-\x7e]+)((?:,[A-Za-z]=[^,]+)*)$/.exec(bare ?? '') ?? []
  if (header === undefined || bare === undefined || given === undefined || nonce.length > maxNonce) {
    return 'what it says first is no SCRAM message'
  }
  if (needsMore(more)) return 'it needs a SCRAM extension, and there is none'
  const name = readName(given)
  if (name === undefined) return 'its SCRAM name is none'
  if (onBehalf !== undefined && readName(onBehalf) !== name) return 'it wants to act for somebody else'
  return { name, header, bare, nonce }
}

/** The hub's part of one exchange: what it asks, and whether the answer proves that the client knows the password. */
export class Challenge {
  /** To be sent: server-first. */
  readonly text: string
  readonly #first: ClientFirst
  readonly #secret: ScramSecret
  readonly #nonce: string

  /** `more` is the hub's half of the nonce: never the same twice, or an answer would be good again. */
  constructor(first: ClientFirst, secret: ScramSecret, more = randomBytes(18).toString('base64')) {
    this.#first = first
    this.#secret = secret
    this.#nonce = first.nonce + more
    this.text = `r=${this.#nonce},s=${secret.salt.toString('base64')},i=${secret.iterations}`
  }

  /** The hub's own proof, server-final, which is to be sent; or why the client's is none, in words. */
  answer(data: Buffer): Buffer | string {
    const [, unproved, binding, nonce, more = '', proof] =
      /^(c=([^,]*),r=([^,]*)((?:,[A-Za-z]=[^,]+)*)),p=([A-Za-z0-9+/]{43}=)$/.exec(readText(data) ?? '') ?? []
    if (unproved === undefined || proof === undefined) return 'its proof is no SCRAM message'
    if (needsMore(more)) return 'it needs a SCRAM extension, and there is none'
    if (binding !== Buffer.from(this.#first.header).toString('base64')) return 'its channel binding is another one'
    if (nonce !== this.#nonce) return 'its nonce is another one'
    const { storedKey, serverKey } = this.#secret
    const said = `${this.#first.bare},${this.text},${unproved}`
    const signature = hmac(storedKey, said)
    const proved = Buffer.from(proof, 'base64')
    const clientKey = proved.map((byte, i) => byte ^ (signature[i] as number))
    // One that is written in another way is not what a client makes.
    if (proved.toString('base64') !== proof) return 'its proof is no SCRAM message'
    if (!timingSafeEqual(hash(clientKey), storedKey)) return 'wrong password'
    return Buffer.from(`v=${hmac(serverKey, said).toString('base64')}`)
  }
}

/** As UTF-8 without U+0000; undefined when it is none, or too long. */
function readText(data: Buffer): string | undefined {
  if (data.length > maxMessage || data.includes(0)) return undefined
  try {
    // It keeps a byte order mark: the text is signed as it was sent.
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(data)
  } catch {
    return undefined
  }
}

/** `=2C` is a comma, `=3D` an equals sign, and nothing else may follow one. */
function readName(given: string): string | undefined {
  if (!/^(?:[^=]|=2C|=3D)+$/.test(given)) return undefined
  return given.replaceAll('=2C', ',').replaceAll('=3D', '=')
}

/** Extensions are passed over, but `m` says that what is behind it must be understood. */
function needsMore(extensions: string): boolean {
  return extensions.includes(',m=')
}

function hmac(key: Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest()
}

function hash(data: Uint8Array): Buffer {
  return createHash('sha256').update(data).digest()
}
