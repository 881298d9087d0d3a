import { createHash, randomBytes, scrypt, scryptSync, timingSafeEqual } from 'node:crypto'

/**
 * Hashes of passwords and secrets, as texts that name the method:
 *
 *     scrypt$ln=15,r=8,p=1$SALT$HASH     for what a person chose: slow to guess (RFC 7914)
 *     sha256$HASH                        for what the hub made at random, at least 128 bits: nothing to guess
 *
 * SALT and HASH are base64url.
 */
interface Scrypt {
  readonly ln: number
  readonly r: number
  readonly p: number
  readonly salt: Buffer
  readonly hash: Buffer
}

const cost = { ln: 15, r: 8, p: 1 }

/** Maximum cost of a hash, 256 MiB and a few seconds: a users file must not stop the hub. */
const maxMemory = 2 ** 28
const maxWork = 2 ** 29

export async function hashPassword(password: string): Promise<string> {
  const salt = randomBytes(16)
  const { ln, r, p } = cost
  const hash = await new Promise<Buffer>((resolve, reject) =>
    scrypt(password.normalize('NFC'), salt, 32, { ...scryptOptions({ ln, r, p }) }, (error, key) =>
      error ? reject(error) : resolve(key),
    ),
  )
  return `scrypt$ln=${ln},r=${r},p=${p}$${salt.toString('base64url')}$${hash.toString('base64url')}`
}

/** Hashes a secret of at least 128 random bits. Not for a password that a person chose. */
export function hashSecret(secret: string): string {
  return `sha256$${createHash('sha256').update(secret).digest('base64url')}`
}

/** Returns a random text of 160 bits. */
export function makeSecret(): string {
  return randomBytes(20).toString('base64url')
}

export function isHash(text: string): boolean {
  return isSecretHash(text) || parseScrypt(text) !== undefined
}

/** Returns whether the hash is quick to verify. */
export function isSecretHash(text: string): boolean {
  return /^sha256\$[\w-]{43}$/.test(text)
}

/**
 * Returns whether the password belongs to the hash. Compares in constant time. Scrypt takes long: call this off the
 * broker thread.
 */
export function verifyPassword(hash: string, password: string): boolean {
  if (isSecretHash(hash)) return isSameText(hashSecret(password), hash)
  const parsed = parseScrypt(hash)
  if (!parsed) return false
  const { salt, hash: wanted, ...parameters } = parsed
  return equal(scryptSync(password.normalize('NFC'), salt, wanted.length, scryptOptions(parameters)), wanted)
}

/** Compares in constant time: the time taken does not reveal where the texts differ. */
export function isSameText(a: string, b: string): boolean {
  return equal(Buffer.from(a), Buffer.from(b))
}

function equal(a: Buffer, b: Buffer): boolean {
  return a.length === b.length && timingSafeEqual(a, b)
}

function scryptOptions({ ln, r, p }: Pick<Scrypt, 'ln' | 'r' | 'p'>) {
  const N = 2 ** ln
  // Node counts the blocks of the input and two more of the table.
  return { N, r, p, maxmem: 128 * r * (N + p + 3) }
}

function parseScrypt(text: string): Scrypt | undefined {
  const found = /^scrypt\$ln=(\d{1,2}),r=(\d{1,2}),p=(\d{1,2})\$([\w-]{11,86})\$([\w-]{43,86})$/.exec(text)
  if (!found) return undefined
  const [, ln, r, p] = found.map(Number) as [number, number, number, number]
  const memory = 128 * 2 ** ln * r
  // RFC 7914 also limits the table of a small block.
  if (ln < 1 || r < 1 || p < 1 || ln >= 16 * r || memory > maxMemory || memory * p > maxWork) return undefined
  return {
    ln,
    r,
    p,
    salt: Buffer.from(found[4] as string, 'base64url'),
    hash: Buffer.from(found[5] as string, 'base64url'),
  }
}
