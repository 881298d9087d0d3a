import { createECDH, randomBytes } from 'node:crypto'
import { type Files, readWholeSync } from '../disk/files.js'
import { replaceFileSync } from '../disk/replace-file.js'
import { HubError } from '../errors.js'

/** Keys by which receivers know the hub. They outlive the process: browsers subscribe for one public key (RFC 8292). */
export interface HubKeys {
  /** Point on P-256, uncompressed, in base64url. */
  readonly publicKey: string
  readonly privateKey: string
  /** Key of the signatures of {@link signRight}. */
  readonly tokens: Buffer
}

/** Returns the keys in the file of mode 0600, which is created when missing. Throws when the disk refuses. */
export function hubKeys(path: string, files?: Files): HubKeys {
  const text = readWholeSync(path, files)?.toString()
  if (text !== undefined) return parseKeys(text, path)
  const pair = createECDH('prime256v1')
  pair.generateKeys()
  // A private key may be shorter than 32 bytes: leading zeros are left out.
  const secret = Buffer.concat([Buffer.alloc(32), pair.getPrivateKey()]).subarray(-32)
  const keys = {
    publicKey: pair.getPublicKey('base64url'),
    privateKey: secret.toString('base64url'),
    tokens: randomBytes(32).toString('base64url'),
  }
  replaceFileSync(path, `${JSON.stringify(keys)}\n`, { mode: 0o600, ...(files && { files }) })
  return { ...keys, tokens: Buffer.from(keys.tokens, 'base64url') }
}

function parseKeys(text: string, path: string): HubKeys {
  try {
    const { publicKey, privateKey, tokens } = JSON.parse(text) as Record<string, string>
    const pair = createECDH('prime256v1')
    pair.setPrivateKey(privateKey ?? '', 'base64url')
    const key = Buffer.from(tokens ?? '', 'base64url')
    if (pair.getPublicKey('base64url') === publicKey && privateKey && key.length === 32) {
      return { publicKey, privateKey, tokens: key }
    }
  } catch {
    // Said below, without the text of the file.
  }
  throw new HubError(
    'data_dir_unusable',
    `${path} is damaged; restore it, or remove it and subscribe again on each device`,
  )
}
