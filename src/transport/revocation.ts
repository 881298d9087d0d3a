import type { X509Certificate } from 'node:crypto'

/** Identifies a certificate among all: no authority gives a serial number twice. [RFC 5280 §4.1.2.2] */
export interface CertificateId {
  /** The name of the authority, in a form in which equal names are equal texts. */
  readonly issuer: string
  /** In hex. */
  readonly serial: string
}

/** A certificate revocation list of one authority. */
export interface RevocationList {
  readonly issuer: string
  /** Milliseconds since the epoch. */
  readonly from: number
  /** When the next list is due and this one ends; infinity when the list names no time. */
  readonly to: number
  /** Serial numbers of the revoked certificates, in hex. */
  readonly serials: ReadonlySet<string>
  readonly pem: string
}

/** OpenSSL and this file read a list in one go, which blocks all else. 16 MB hold 400,000 certificates. */
const maxFile = 16_000_000

/** Returns the lists of a file, in order. Throws a sentence when there is none, or a damaged one. */
export function revocationLists(pem: Buffer): RevocationList[] {
  if (pem.length > maxFile) throw new Error(`has ${pem.length} bytes, allowed are ${maxFile}`)
  const found = pem.toString('latin1').match(/-----BEGIN X509 CRL-----.*?-----END X509 CRL-----/gs)
  if (!found) {
    throw new Error(
      'contains no revocation list in PEM (-----BEGIN X509 CRL-----); openssl crl -inform DER converts one from DER',
    )
  }
  return found.map(one => {
    let list: RevocationList
    try {
      list = readList(one)
    } catch {
      throw new Error('contains a damaged revocation list')
    }
    return list
  })
}

/** Returns whether a certificate is in one of the lists. */
export function isRevoked({ issuer, serial }: CertificateId, lists: readonly RevocationList[]): boolean {
  return lists.some(list => list.issuer === issuer && list.serials.has(serial))
}

/** A certificate in DER with that of the authority, as `getPeerCertificate(true)` of a TLS socket returns them. */
interface ChainedCertificate {
  readonly raw: Buffer
  /** The authority's certificate; for a root, the same object. */
  readonly issuerCertificate?: ChainedCertificate | undefined
}

/** Returns the ids of a certificate and of the authorities above, as far as known. */
export function chainIds(certificate: ChainedCertificate): CertificateId[] {
  const ids: CertificateId[] = []
  let one: ChainedCertificate | undefined = certificate
  while (one && ids.length < maxChain) {
    ids.push(certificateId(one))
    one = one.issuerCertificate === one ? undefined : one.issuerCertificate
  }
  return ids
}

const maxChain = 10

function certificateId({ raw }: ChainedCertificate): CertificateId {
  const [serial, , issuer] = certificateFields(raw)
  return { issuer: nameText(raw, issuer), serial: hex(raw, serial) }
}

/** Returns the name of an authority in the form of `RevocationList.issuer`. */
export function subjectOf({ raw }: X509Certificate): string {
  return nameText(raw, certificateFields(raw)[4])
}

/** Returns TBSCertificate from the serial number on: serial, signature, issuer, validity, subject … [RFC 5280 §4.1] */
function certificateFields(raw: Buffer): Element[] {
  const fields = [...children(raw, children(raw, element(raw, 0, raw.length)).next().value)]
  return fields[0]?.tag === tags.version ? fields.slice(1) : fields
}

/** Reads a CertificateList: TBSCertList, signature algorithm, signature. [RFC 5280 §5.1] */
function readList(pem: string): RevocationList {
  const der = Buffer.from(pem.replace(/-----[^-]+-----/g, ''), 'base64')
  const fields = [...children(der, children(der, element(der, 0, der.length)).next().value)]
  // The version is only there from version 2 on.
  if (fields[0]?.tag === tags.integer) fields.shift()
  const [, issuer, from, ...rest] = fields
  const next = rest[0]?.tag === tags.utcTime || rest[0]?.tag === tags.generalizedTime ? rest.shift() : undefined
  const revoked = rest[0]?.tag === tags.sequence ? rest[0] : undefined
  const serials = new Set<string>()
  if (revoked) for (const entry of children(der, revoked)) serials.add(hex(der, children(der, entry).next().value))
  return {
    issuer: nameText(der, issuer),
    from: time(der, from),
    to: next ? time(der, next) : Number.POSITIVE_INFINITY,
    serials,
    pem,
  }
}

const tags = {
  integer: 0x02,
  utf8String: 0x0c,
  printableString: 0x13,
  teletexString: 0x14,
  ia5String: 0x16,
  utcTime: 0x17,
  generalizedTime: 0x18,
  bmpString: 0x1e,
  sequence: 0x30,
  /** `[0]`, explicit. */
  version: 0xa0,
} as const

/** An element of DER: the tag, and where the content begins and ends. [X.690 §8.1] */
interface Element {
  readonly tag: number
  readonly start: number
  readonly end: number
}

function element(der: Buffer, at: number, limit: number): Element {
  const tag = der.readUInt8(at)
  const short = der.readUInt8(at + 1)
  // From 0x80 on the byte gives the number of bytes of the length.
  if (short === 0x80) throw new RangeError('a length is missing')
  const lengthBytes = short < 0x80 ? 0 : short - 0x80
  const start = at + 2 + lengthBytes
  const end = start + (lengthBytes === 0 ? short : der.readUIntBE(at + 2, lengthBytes))
  if (end > limit) throw new RangeError('an element ends beyond the one that holds it')
  return { tag, start, end }
}

function* children(der: Buffer, parent: Element | undefined): Generator<Element, undefined> {
  if (!parent) throw new RangeError('an element is missing')
  for (let at = parent.start; at < parent.end; ) {
    const child = element(der, at, parent.end)
    yield child
    at = child.end
  }
  return undefined
}

function hex(der: Buffer, found: Element | undefined): string {
  if (!found) throw new RangeError('an element is missing')
  return der.toString('hex', found.start, found.end)
}

/**
 * Returns a name as a text. Upper and lower case, repeated spaces and the kind of string do not count, as in OpenSSL:
 * an authority may write the same name otherwise in a list than in a certificate. [RFC 5280 §7.1]
 */
function nameText(der: Buffer, name: Element | undefined): string {
  const parts: string[][] = []
  for (const set of children(der, name)) {
    for (const attribute of children(der, set)) {
      const [type, value] = children(der, attribute)
      parts.push([hex(der, type), value ? valueText(der, value) : ''])
    }
  }
  return JSON.stringify(parts)
}

function valueText(der: Buffer, value: Element): string {
  const content = der.subarray(value.start, value.end)
  switch (value.tag) {
    case tags.utf8String:
    case tags.printableString:
    case tags.ia5String:
      return plain(content.toString('utf8'))
    case tags.teletexString:
      return plain(content.toString('latin1'))
    case tags.bmpString:
      return plain(Buffer.from(content).swap16().toString('utf16le'))
    default:
      return `${value.tag}:${content.toString('hex')}`
  }
}

function plain(text: string): string {
  return text.trim().replace(/\s+/g, ' ').toLowerCase()
}

/** Reads a time: `YYMMDDHHMMSSZ` up to 2049, or `YYYYMMDDHHMMSSZ`. [RFC 5280 §4.1.2.5] */
function time(der: Buffer, found: Element | undefined): number {
  if (!found) throw new RangeError('a time is missing')
  const text = der.toString('latin1', found.start, found.end)
  const full = found.tag === tags.generalizedTime ? text : `${Number(text.slice(0, 2)) < 50 ? '20' : '19'}${text}`
  const [, year, month, dayOfMonth, hour, minute, second] = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/.exec(full) ?? []
  const ms = Date.parse(`${year}-${month}-${dayOfMonth}T${hour}:${minute}:${second}Z`)
  if (Number.isNaN(ms)) throw new RangeError('a time is damaged')
  return ms
}
