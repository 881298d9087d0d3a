import { createHash, createHmac, pbkdf2Sync, randomBytes, timingSafeEqual } from 'node:crypto'

/*
 * The server's side of SCRAM-SHA-256 (RFC 5802, RFC 7677), without channel binding. A password never crosses the wire,
 * and the client learns that the hub knows the password, too:
 *
 *   client → hub   n,,n=NAME,r=NONCE
 *   client ← hub   r=NONCE MORE,s=SALT,i=ITERATIONS
 *   client → hub   c=biws,r=NONCE MORE,p=PROOF
 *   client ← hub   v=SIGNATURE
 */

export const scramMethod = 'SCRAM-SHA-256'

/**
 * Iterations for every user, and for names of no user: a client sees no difference. RFC 7677 wants 4,096 at least. A
 * client computes them at each connection unless the key is kept.
 */
export const iterations = 100_000

/** Maximum length in bytes: a name and two nonces need no more. */
const maxMessage = 4_096
const maxNonce = 1_024

const saltBytes = 16
const keyBytes = 32

/**
 * Stored form of a password: enough to check that a client knows the password, not enough to authenticate when stolen.
 */
export interface ScramSecret {
  readonly iterations: number
  readonly salt: Buffer
  readonly storedKey: Buffer
  readonly serverKey: Buffer
}

/** First message of a client. */
export interface ClientFirst {
  readonly name: string
  /** Channel binding, and the user to act for. The client repeats this part under the proof. */
  readonly header: string
  /** Rest of the message, which the proof covers as sent. */
  readonly bare: string
  readonly nonce: string
}

/**
 * Prepares a password by SASLprep (RFC 4013), so that every way to type a password gives the same bytes. Resolves to
 * undefined when the password has forbidden characters, such as control characters or those that Unicode 3.2 did not
 * know.
 */
export async function preparePassword(password: string): Promise<string | undefined> {
  if (/^[\x20-\x7e]+$/.test(password)) return password
  // Imported when needed: the tables take 5 MB, which a hub has no use for.
  const { saslprep } = await import('@mongodb-js/saslprep')
  try {
    return saslprep(password) || undefined
  } catch {
    return undefined
  }
}

/**
 * Returns what is stored for a prepared password, in a line as PostgreSQL writes it, of the fields of RFC 5803:
 * `SCRAM-SHA-256$100000:SALT$STOREDKEY:SERVERKEY`. Takes tens of milliseconds: call this off the broker thread.
 */
export function makeScram(prepared: string): string {
  const salt = randomBytes(saltBytes)
  const salted = pbkdf2Sync(prepared, salt, iterations, keyBytes, 'sha256')
  return line(salt, hash(hmac(salted, 'Client Key')), hmac(salted, 'Server Key'))
}

/** Returns a secret for a name that has none: the same key always gives the same salt, and no password fits. */
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

/** Returns whether the text is one of {@link makeScram}. Other iterations would reveal which names are users. */
export function isScram(text: string): boolean {
  return parseScram(text)?.iterations === iterations
}

/** Reads the first message of a client. Returns in words why the message is not valid. */
export function readClientFirst(data: Buffer): ClientFirst | string {
  const text = readText(data)
  if (text === undefined) return 'its first message is not a valid SCRAM message'
  if (text.startsWith('p=')) return 'it requires channel binding, which is not supported'
  const [, header, onBehalf, bare] = /^([ny],(?:a=([^,]*))?,)(.*)$/s.exec(text) ?? []
  const [, given, nonce = '', more = ''] =
    /^n=([^,]*),r=([\x21-\x2b\x2d-\x7e]+)((?:,[A-Za-z]=[^,]+)*)$/.exec(bare ?? '') ?? []
  if (header === undefined || bare === undefined || given === undefined || nonce.length > maxNonce) {
    return 'its first message is not a valid SCRAM message'
  }
  if (needsMore(more)) return 'it requires a SCRAM extension, and none is supported'
  const name = readName(given)
  if (name === undefined) return 'its user name in SCRAM is not valid'
  if (onBehalf !== undefined && readName(onBehalf) !== name)
    return 'it asks to act as another user (authzid), which is not supported'
  return { name, header, bare, nonce }
}

/** The hub's part of one exchange: the challenge, and the check that the answer proves knowledge of the password. */
export class Challenge {
  /** Message to send: server-first. */
  readonly text: string
  readonly #first: ClientFirst
  readonly #secret: ScramSecret
  readonly #nonce: string

  /** `more` is the hub's half of the nonce. Never the same twice, or an old answer would be valid again. */
  constructor(first: ClientFirst, secret: ScramSecret, more = randomBytes(18).toString('base64')) {
    this.#first = first
    this.#secret = secret
    this.#nonce = first.nonce + more
    this.text = `r=${this.#nonce},s=${secret.salt.toString('base64')},i=${secret.iterations}`
  }

  /** Returns the hub's own proof to send (server-final), or in words why the client's proof is not valid. */
  answer(data: Buffer): Buffer | string {
    const [, unproved, binding, nonce, more = '', proof] =
      /^(c=([^,]*),r=([^,]*)((?:,[A-Za-z]=[^,]+)*)),p=([A-Za-z0-9+/]{43}=)$/.exec(readText(data) ?? '') ?? []
    if (unproved === undefined || proof === undefined) return 'its final message is not a valid SCRAM message'
    if (needsMore(more)) return 'it requires a SCRAM extension, and none is supported'
    if (binding !== Buffer.from(this.#first.header).toString('base64'))
      return 'its channel binding data does not match its first message'
    if (nonce !== this.#nonce) return 'its nonce does not match'
    const { storedKey, serverKey } = this.#secret
    const said = `${this.#first.bare},${this.text},${unproved}`
    const signature = hmac(storedKey, said)
    const proved = Buffer.from(proof, 'base64')
    const clientKey = proved.map((byte, i) => byte ^ (signature[i] as number))
    // A proof in another spelling of base64 does not come from a client.
    if (proved.toString('base64') !== proof) return 'its final message is not a valid SCRAM message'
    if (!timingSafeEqual(hash(clientKey), storedKey)) return 'wrong password'
    return Buffer.from(`v=${hmac(serverKey, said).toString('base64')}`)
  }
}

/** Decodes UTF-8 without U+0000. Returns undefined when the data is not valid, or too long. */
function readText(data: Buffer): string | undefined {
  if (data.length > maxMessage || data.includes(0)) return undefined
  try {
    // A byte order mark is kept: the text is signed as sent.
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(data)
  } catch {
    return undefined
  }
}

/** Decodes a name: `=2C` is a comma, `=3D` an equals sign, and nothing else may follow an equals sign. */
function readName(given: string): string | undefined {
  if (!/^(?:[^=]|=2C|=3D)+$/.test(given)) return undefined
  return given.replaceAll('=2C', ',').replaceAll('=3D', '=')
}

/**
 * Returns whether an extension is mandatory. Others are skipped, but `m` means that what follows must be understood.
 */
function needsMore(extensions: string): boolean {
  return extensions.includes(',m=')
}

function hmac(key: Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest()
}

function hash(data: Uint8Array): Buffer {
  return createHash('sha256').update(data).digest()
}
