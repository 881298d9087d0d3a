import { constants, createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createSecureContext, type SecureContextOptions } from 'node:tls'
import type { Settings } from './config.js'
import { describe, HubError, systemCode } from './errors.js'
import type { Part } from './lifecycle.js'
import { WatchedFiles } from './watch.js'

export interface TlsPaths {
  /** Of PEM files; '' is none. */
  readonly cert: string
  readonly key: string
  readonly ca: string
}

export function tlsPaths(settings: Settings): TlsPaths {
  return { cert: settings['tls.cert'], key: settings['tls.key'], ca: settings['tls.ca'] }
}

/** The content of the files. */
export interface TlsFiles {
  readonly cert: Buffer
  readonly key: Buffer
  readonly ca?: Buffer
}

export interface TlsOptions {
  readonly paths: TlsPaths
  /** Milliseconds since the epoch. */
  readonly now: () => number
  readonly log: { info(sentence: string): void; warn(sentence: string): void }
  /** From look to look at the files. */
  readonly everyMs?: number
}

/**
 * TLS 1.2 with forward secrecy and authenticated encryption, and TLS 1.3. AES-128 first: that is what an ESP32 has in
 * hardware; who has no AES and says so by naming ChaCha20 first gets that.
 */
const suites = [
  'TLS_AES_128_GCM_SHA256',
  'TLS_AES_256_GCM_SHA384',
  'TLS_CHACHA20_POLY1305_SHA256',
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-CHACHA20-POLY1305',
  'ECDHE-RSA-CHACHA20-POLY1305',
]

const terms: SecureContextOptions = {
  minVersion: 'TLSv1.2',
  // Level 2: no key shorter than RSA 2048 or P-256, no SHA-1, on either side.
  ciphers: `${suites.join(':')}:@SECLEVEL=2`,
  honorCipherOrder: true,
  ecdhCurve: 'X25519:P-256:P-384:P-521',
  // Whoever is let in with one certificate does not change it later.
  secureOptions: constants.SSL_OP_PRIORITIZE_CHACHA | constants.SSL_OP_NO_RENEGOTIATION,
}

const dayMs = 864e5

/** Before the end of a certificate. */
const warningDays = 14

/**
 * The certificate of this hub and its key, always as the files are now. What does not fit together is not taken: the
 * hub goes on with what it has, and says why.
 */
export class Tls implements Part {
  readonly name = 'certificates'
  readonly #options: TlsOptions
  readonly #watched: WatchedFiles
  readonly #changed: (() => void)[] = []
  #files: TlsFiles | undefined
  #daily: NodeJS.Timeout | undefined

  constructor(options: TlsOptions) {
    const { paths, everyMs = 1_000 } = options
    this.#options = options
    this.#watched = new WatchedFiles({
      paths: Object.values(paths).filter(path => path !== ''),
      changed: () => this.#reload(),
      everyMs,
    })
  }

  /** Throws a `HubError` that says which setting, which file, and what is wrong. */
  start(): void {
    this.#watched.start()
    try {
      this.#files = loadTls(this.#options.paths)
    } catch (error) {
      this.stop()
      throw error
    }
    this.#remind()
    this.#daily = setInterval(() => this.#remind(), dayMs).unref()
  }

  stop(): void {
    clearInterval(this.#daily)
    this.#watched.stop()
  }

  /** For a server, with all that it is to accept and to refuse. It asks for no certificate of clients. */
  get context(): SecureContextOptions {
    const { cert, key } = this.#current
    return { ...terms, cert, key }
  }

  /** The same for MQTT, where clients are asked for a certificate if there is a `ca`. */
  get mqttContext(): SecureContextOptions {
    const { ca } = this.#current
    return ca ? { ...this.context, ca } : this.context
  }

  /** Are clients asked for certificates? Does not change before the next start. */
  get asksClients(): boolean {
    return this.#options.paths.ca !== ''
  }

  /** For a server that uses one of the contexts: who is connected stays so, and who comes gets the new one. */
  onChange(changed: () => void): void {
    this.#changed.push(changed)
  }

  /** A sentence for people when a certificate ends soon, has ended, or is not valid yet. */
  warning(): string | undefined {
    const { paths, now } = this.#options
    const { cert, ca } = this.#current
    const today = now()
    const [own, ...between] = certificates(cert).map(validity)
    const issuers = ca ? certificates(ca).map(validity) : []
    if (own && today < own.from) {
      return `the certificate in ${paths.cert} (tls.cert) is not valid before ${day(own.from)}: is the clock right?`
    }
    const end = Math.min(...[own, ...between].map(one => one?.to ?? Number.POSITIVE_INFINITY))
    const sentence = ending(`the certificate in ${paths.cert} (tls.cert)`, end, today)
    if (sentence) return `${sentence}; put a new one into the file, and it is taken up`
    // Of those that clients are checked with some may be old; that the last one ends is worth a word.
    return ca && ending(`the last certificate in ${paths.ca} (tls.ca)`, Math.max(...issuers.map(one => one.to)), today)
  }

  get #current(): TlsFiles {
    if (!this.#files) throw new Error('the certificates are not loaded yet')
    return this.#files
  }

  #remind(): void {
    const sentence = this.warning()
    if (sentence) this.#options.log.warn(sentence)
  }

  #reload(): void {
    const { paths, log } = this.#options
    try {
      this.#files = loadTls(paths)
    } catch (error) {
      log.warn(`${describe(error)}; the hub goes on with the certificate it has`)
      return
    }
    for (const changed of this.#changed) changed()
    const [own] = certificates(this.#files.cert)
    log.info(`tls.cert: ${paths.cert}: new certificate taken up, valid until ${own ? day(validity(own).to) : '?'}`)
    this.#remind()
  }
}

function validity({ validFrom, validTo }: X509Certificate): { from: number; to: number } {
  return { from: Date.parse(validFrom), to: Date.parse(validTo) }
}

function ending(what: string, end: number, now: number): string | undefined {
  if (end <= now) return `${what} ended on ${day(end)}: clients refuse it`
  return end - now < warningDays * dayMs ? `${what} ends on ${day(end)}` : undefined
}

function day(ms: number): string {
  return new Date(ms).toISOString().slice(0, 10)
}

/** Reads and checks certificates and key. Throws a `HubError` that says which setting, which file, and what is wrong. */
export function loadTls({ cert, key, ca }: TlsPaths): TlsFiles {
  const read = (setting: string, path: string, check: (pem: Buffer) => void): Buffer => {
    try {
      const pem = readFileSync(path)
      check(pem)
      return pem
    } catch (error) {
      const code = systemCode(error)
      const why =
        code === 'ENOENT'
          ? 'there is no such file'
          : code === 'EACCES'
            ? 'may not be read by this user'
            : describe(error)
      throw new HubError('bad_settings', `${setting}: ${path}: ${why}`, { cause: error })
    }
  }
  const certificate = read('tls.cert', cert, certificates)
  const tls = {
    cert: certificate,
    key: read('tls.key', key, pem => {
      if (!certificates(certificate)[0]?.checkPrivateKey(privateKey(pem))) {
        throw new Error(`is not the key of the certificate in ${cert}; the certificate of the hub comes first there`)
      }
    }),
  }
  const files = ca === '' ? tls : { ...tls, ca: read('tls.ca', ca, certificates) }
  try {
    createSecureContext({ ...terms, ...files })
  } catch (error) {
    // A key that is too short to be safe, for one.
    throw new HubError('bad_settings', `tls.cert: ${cert}: cannot be used: ${describe(error)}`, { cause: error })
  }
  return files
}

/** The certificates of a file, in its order. Throws a sentence when there is none, or a damaged one. */
export function certificates(pem: Buffer): X509Certificate[] {
  const found = pem.toString('latin1').match(/-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----/gs)
  if (!found) throw new Error('holds no certificate in PEM (-----BEGIN CERTIFICATE-----)')
  try {
    return found.map(one => new X509Certificate(one))
  } catch (error) {
    throw new Error(`holds a damaged certificate (${describe(error)})`)
  }
}

function privateKey(pem: Buffer): KeyObject {
  try {
    return createPrivateKey(pem)
  } catch (error) {
    throw new Error(`holds no private key in PEM without a passphrase (${describe(error)})`)
  }
}

/** For who shows none, or none that was verified. */
export const noNames: readonly string[] = []

/**
 * The names a certificate gives its owner: CN of the subject, and DNS, email and URI of the subject's other names. To
 * be asked of verified certificates alone.
 */
export function namesOf(certificate: X509Certificate): readonly string[] {
  const subject = certificate.toLegacyObject().subject as { CN?: string | string[] } | undefined
  const names = [subject?.CN ?? [], otherNames(certificate.subjectAltName ?? '')].flat()
  // No name of a user holds them; cut off, or shown without them, one would look like another. [CVE-2009-2408]
  return [...new Set(names.filter(name => name !== '' && !/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u.test(name)))]
}

/**
 * As Node writes them: `DNS:a, URI:"…"`. One that holds a comma, a quote or a control character is a JSON text, its
 * commas written as `\u002c`; so a comma always is between two of them. [CVE-2021-44532]
 */
function otherNames(text: string): string[] {
  return text.split(', ').flatMap(one => {
    const found = /^(?:DNS|email|URI):(".*"|[^"]*)$/s.exec(one)?.[1]
    if (found === undefined) return []
    return found.startsWith('"') ? [JSON.parse(found) as string] : [found]
  })
}
