import { constants, createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createSecureContext, type SecureContextOptions } from 'node:tls'
import type { Settings } from '../config/settings.js'
import { WatchedFiles } from '../disk/watched-files.js'
import { describe, HubError, systemCode } from '../errors.js'
import type { AlarmCheck } from '../observe/alarms.js'
import type { SentenceLog } from '../observe/log.js'
import type { Part } from '../runtime/lifecycle.js'
import type { MillisecondClock } from '../runtime/time.js'
import { type CertificateId, isRevoked, type RevocationList, revocationLists, subjectOf } from './revocation.js'
import { authorityBeside, type CertificateFacts, certificateFacts } from './served-certificate.js'

export interface TlsPaths {
  /** Paths of PEM files; '' is none. */
  readonly cert: string
  readonly key: string
  readonly ca: string
  readonly crl: string
}

export function tlsPaths(settings: Settings): TlsPaths {
  const { 'tls.cert': cert, 'tls.key': key, 'tls.ca': ca, 'tls.crl': crl } = settings
  return { cert, key, ca, crl }
}

/** The content of the files. */
export interface TlsFiles {
  readonly cert: Buffer
  readonly key: Buffer
  readonly ca?: Buffer
  readonly crl?: readonly RevocationList[]
}

export interface TlsOptions {
  readonly paths: TlsPaths
  /** Milliseconds since the epoch. */
  readonly clock: MillisecondClock
  readonly log: SentenceLog
  /** Milliseconds between two looks at the files. */
  readonly everyMs?: number
}

/**
 * TLS 1.2 with forward secrecy and authenticated encryption, and TLS 1.3. AES-128 comes first, which an ESP32 has in
 * hardware. A client without AES that names ChaCha20 first gets ChaCha20.
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
  // A client admitted with one certificate must not change to another later.
  secureOptions: constants.SSL_OP_PRIORITIZE_CHACHA | constants.SSL_OP_NO_RENEGOTIATION,
}

export interface ServedCertificate {
  readonly certificate: CertificateFacts
  readonly authority: (CertificateFacts & { readonly pem: string }) | undefined
}

const dayMs = 864e5
const hourMs = 36e5

/** Days before the end of a certificate at which warnings begin. */
const warningDays = 14

/**
 * The certificate and the key of this hub, always as the files are now. Files that do not fit together are not taken:
 * the hub goes on with the former ones, and logs why.
 */
export class Tls implements Part {
  readonly name = 'certificates'
  readonly alarm: AlarmCheck = { name: 'certificate', check: () => this.warning() }
  readonly #options: TlsOptions
  readonly #watched: WatchedFiles
  readonly #changed: (() => void)[] = []
  #files: TlsFiles | undefined
  #hourly: NodeJS.Timeout | undefined
  #reminded: { readonly sentence: string; readonly at: number } | undefined
  /** Why the present files are not taken. Undefined when they are. */
  #trouble: string | undefined

  constructor(options: TlsOptions) {
    const { paths, everyMs = 1_000 } = options
    this.#options = options
    this.#watched = new WatchedFiles({
      paths: Object.values(paths).filter(path => path !== ''),
      changed: () => this.#reload(),
      everyMs,
    })
  }

  /** Loads the files. Throws a `HubError` that names the setting, the file, and the fault. */
  start(): void {
    this.#watched.start()
    try {
      this.#files = loadTls(this.#options.paths)
    } catch (error) {
      this.stop()
      throw error
    }
    this.#remind()
    this.#hourly = setInterval(() => this.#remind(), hourMs).unref()
  }

  stop(): void {
    clearInterval(this.#hourly)
    this.#watched.stop()
  }

  /** Options for a server, with all that must be accepted and refused. Clients are asked for no certificate. */
  get context(): SecureContextOptions {
    const { cert, key } = this.#current
    return { ...terms, cert, key }
  }

  /** The same options for MQTT, where clients are asked for a certificate if there is a `ca`. */
  get mqttContext(): SecureContextOptions {
    return contextOf(this.#current)
  }

  /** True when certificates of clients are looked up in revocation lists. Does not change before the next start. */
  get looksUpRevoked(): boolean {
    return this.#options.paths.crl !== ''
  }

  /** Returns whether a revocation list names one of the certificates. */
  revokes(certificates: readonly CertificateId[]): boolean {
    const { crl } = this.#current
    return crl !== undefined && certificates.some(one => isRevoked(one, crl))
  }

  /** The certificate that servers show now, and the authority beside it in the folder that has signed it. */
  get served(): ServedCertificate {
    const { paths } = this.#options
    const own = certificates(this.#current.cert)[0] as X509Certificate
    return { certificate: certificateFacts(paths.cert, own), authority: authorityBeside(paths.cert, own) }
  }

  /** Path of the authorities that sign certificates of clients; empty: clients are asked for none. */
  get clientAuthorities(): string {
    return this.#options.paths.ca
  }

  /** True when clients are asked for certificates. Does not change before the next start. */
  get asksClients(): boolean {
    return this.#options.paths.ca !== ''
  }

  /** Calls `changed` after every change, for a server to set the new context: open connections keep the former one. */
  onChange(changed: () => void): void {
    this.#changed.push(changed)
  }

  /**
   * Returns a sentence for people when a certificate or a revocation list ends soon, has ended, or is not valid yet, or
   * when changed files are not taken.
   */
  warning(): string | undefined {
    return [this.#trouble, this.#listWarning(), this.#certificateWarning()].filter(Boolean).join('; ') || undefined
  }

  /** Returns a warning about revocation lists: OpenSSL refuses all clients of an authority whose list has ended. */
  #listWarning(): string | undefined {
    const { paths, clock } = this.#options
    const today = clock.now()
    // The list that has to be replaced first.
    const [list] = [...(this.#current.crl ?? [])].sort((one, other) => one.to - other.to)
    if (!list) return undefined
    const what = `a revocation list in ${paths.crl} (tls.crl)`
    const remedy = 'add a new list of its authority to the file; the hub reads it at once'
    if (list.to <= today) {
      return `${what} expired on ${minute(list.to)}: all clients with a certificate of its authority are refused; ${remedy}`
    }
    // Some lists are replaced every day, others once a year.
    if (list.to - today < Math.min(warningDays * dayMs, (list.to - list.from) / 4)) {
      return `${what} expires on ${minute(list.to)}; from then on all clients with a certificate of its authority are refused; ${remedy}`
    }
    const early = this.#current.crl?.find(({ from }) => from > today)
    return early && `${what} is not valid before ${minute(early.from)}: clients are refused; is the clock right?`
  }

  #certificateWarning(): string | undefined {
    const { paths, clock } = this.#options
    const { cert, ca } = this.#current
    const today = clock.now()
    const [own, ...between] = certificates(cert).map(validity)
    const issuers = ca ? certificates(ca).map(validity) : []
    if (own && today < own.from) {
      return `the certificate in ${paths.cert} (tls.cert) is not valid before ${day(own.from)}: is the clock right?`
    }
    const end = Math.min(...[own, ...between].map(one => one?.to ?? Number.POSITIVE_INFINITY))
    const sentence = ending(`the certificate in ${paths.cert} (tls.cert)`, end, today)
    if (sentence) return `${sentence}; put a new one into the file; the hub reads it at once`
    // Some certificates of authorities may be old; only the end of the last one deserves a warning.
    return ca && ending(`the last certificate in ${paths.ca} (tls.ca)`, Math.max(...issuers.map(one => one.to)), today)
  }

  get #current(): TlsFiles {
    if (!this.#files) throw new Error('the certificates are not loaded yet')
    return this.#files
  }

  #remind(): void {
    const { clock, log } = this.#options
    const sentence = this.warning()
    const last = this.#reminded
    if (!sentence || (sentence === last?.sentence && clock.now() - last.at < dayMs - hourMs / 2)) return
    this.#reminded = { sentence, at: clock.now() }
    log.warn(sentence)
  }

  #reload(): void {
    const { paths, log } = this.#options
    const before = this.#current
    try {
      this.#files = loadTls(paths)
      this.#trouble = undefined
    } catch (error) {
      const kept = paths.crl === '' ? 'the certificate it has' : 'the certificates and revocation lists it has'
      this.#trouble = `${describe(error)}; the hub continues with ${kept}`
      log.warn(this.#trouble)
      return
    }
    const { cert, crl } = this.#files
    for (const changed of this.#changed) changed()
    const hasNewLists = crl !== undefined && !sameLists(crl, before.crl)
    if (hasNewLists) {
      const revoked = crl.reduce((sum, { serials }) => sum + serials.size, 0)
      log.info(`tls.crl: ${paths.crl}: read ${crl.length} new revocation lists, with ${revoked} certificates`)
    }
    if (!hasNewLists || !cert.equals(before.cert)) {
      const [own] = certificates(cert)
      log.info(`tls.cert: ${paths.cert}: read a new certificate, valid until ${own ? day(validity(own).to) : '?'}`)
    }
    this.#remind()
  }
}

/** Returns the options of a server for MQTT. Node reads only one list from each text. */
function contextOf({ cert, key, ca, crl }: TlsFiles): SecureContextOptions {
  return { ...terms, cert, key, ...(ca && { ca }), ...(crl && { crl: crl.map(({ pem }) => pem) }) }
}

function sameLists(some: readonly RevocationList[], others: readonly RevocationList[] = []): boolean {
  return some.length === others.length && some.every(({ pem }, i) => pem === others[i]?.pem)
}

function validity({ validFrom, validTo }: X509Certificate): { from: number; to: number } {
  return { from: Date.parse(validFrom), to: Date.parse(validTo) }
}

function ending(what: string, end: number, now: number): string | undefined {
  if (end <= now) return `${what} expired on ${day(end)}: clients reject it`
  return end - now < warningDays * dayMs ? `${what} expires on ${day(end)}` : undefined
}

function day(ms: number): string {
  return new Date(ms).toISOString().slice(0, 10)
}

/** Formats a time to the minute, as some lists end after hours. */
function minute(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 16).replace('T', ' ')} UTC`
}

/** Reads and checks certificates and key. Throws a `HubError` that names the setting, the file, and the fault. */
export function loadTls({ cert, key, ca, crl }: TlsPaths): TlsFiles {
  const read = <T>(setting: string, path: string, parse: (pem: Buffer) => T): T => {
    try {
      return parse(readFileSync(path))
    } catch (error) {
      const code = systemCode(error)
      const why =
        code === 'ENOENT'
          ? 'the file does not exist'
          : code === 'EACCES'
            ? 'may not be read by this user'
            : describe(error)
      throw new HubError('bad_settings', `${setting}: ${path}: ${why}`, { cause: error })
    }
  }
  const certificate = read('tls.cert', cert, withCertificates)
  const tls = {
    cert: certificate,
    key: read('tls.key', key, pem => {
      if (!certificates(certificate)[0]?.checkPrivateKey(privateKey(pem))) {
        throw new Error(`is not the key of the certificate in ${cert}; the certificate of the hub comes first there`)
      }
      return pem
    }),
  }
  const issuers = ca === '' ? undefined : read('tls.ca', ca, withCertificates)
  const lists = crl === '' || !issuers ? undefined : read('tls.crl', crl, pem => listsFor(issuers, ca, pem))
  const files = { ...tls, ...(issuers && { ca: issuers }), ...(lists && { crl: lists }) }
  try {
    createSecureContext(contextOf(files))
  } catch (error) {
    // For example, a key that is too short to be safe.
    throw new HubError('bad_settings', `tls.cert: ${cert}: cannot be used: ${describe(error)}`, { cause: error })
  }
  return files
}

function withCertificates(pem: Buffer): Buffer {
  certificates(pem)
  return pem
}

/** Returns the lists of a file. Throws a sentence when an authority has none: OpenSSL would refuse that one's clients. */
function listsFor(issuers: Buffer, path: string, pem: Buffer): RevocationList[] {
  const lists = revocationLists(pem)
  for (const issuer of certificates(issuers)) {
    const name = subjectOf(issuer)
    if (lists.some(list => list.issuer === name)) continue
    const shown = issuer.subject.replaceAll('\n', ', ')
    throw new Error(
      `contains no list of ${shown}, which is in ${path} (tls.ca): all its clients would be refused; add its list, which may be empty`,
    )
  }
  return lists
}

/** Returns the certificates of a file, in order. Throws a sentence when there is none, or a damaged one. */
export function certificates(pem: Buffer): X509Certificate[] {
  const found = pem.toString('latin1').match(/-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----/gs)
  if (!found) throw new Error('contains no certificate in PEM (-----BEGIN CERTIFICATE-----)')
  try {
    return found.map(one => new X509Certificate(one))
  } catch (error) {
    throw new Error(`contains a damaged certificate (${describe(error)})`)
  }
}

function privateKey(pem: Buffer): KeyObject {
  try {
    return createPrivateKey(pem)
  } catch (error) {
    throw new Error(`contains no private key in PEM without a passphrase (${describe(error)})`)
  }
}

/** The names of a client without a certificate, or without a verified one. */
export const noNames: readonly string[] = []

/**
 * Returns the names of a certificate's owner: CN of the subject, and DNS, email and URI of the subject's other names.
 * To be called for verified certificates alone.
 */
export function namesOf(certificate: X509Certificate): readonly string[] {
  const subject = certificate.toLegacyObject().subject as { CN?: string | string[] } | undefined
  const names = [subject?.CN ?? [], otherNames(certificate.subjectAltName ?? '')].flat()
  // No user name has control characters; cut off, or shown without, one name would look like another. [CVE-2009-2408]
  return [...new Set(names.filter(name => name !== '' && !/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u.test(name)))]
}

/**
 * Reads other names as Node writes them: `DNS:a, URI:"…"`. A name with a comma, a quote or a control character is a
 * JSON text, with commas written as `\u002c`; so a comma is always between two names. [CVE-2021-44532]
 */
function otherNames(text: string): string[] {
  return text.split(', ').flatMap(one => {
    const found = /^(?:DNS|email|URI):(".*"|[^"]*)$/s.exec(one)?.[1]
    if (found === undefined) return []
    return found.startsWith('"') ? [JSON.parse(found) as string] : [found]
  })
}
