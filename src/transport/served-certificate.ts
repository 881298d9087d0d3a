import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

/** A certificate, for people. Times are milliseconds since the epoch. */
export interface CertificateFacts {
  readonly file: string
  readonly subject: string
  readonly issuer: string
  /** Host names and addresses that the certificate is for. */
  readonly names: readonly string[]
  readonly from: number
  readonly to: number
  /** SHA-256. */
  readonly fingerprint: string
  readonly selfSigned: boolean
}

export function certificateFacts(file: string, certificate: X509Certificate): CertificateFacts {
  const { subject, issuer, subjectAltName = '', validFrom, validTo, fingerprint256 } = certificate
  return {
    file,
    subject: onOneLine(subject),
    issuer: onOneLine(issuer),
    names: subjectAltName
      .split(', ')
      .filter(Boolean)
      .map(name => name.replace(/^(DNS|IP Address):/, '')),
    from: Date.parse(validFrom),
    to: Date.parse(validTo),
    fingerprint: fingerprint256,
    selfSigned: subject === issuer,
  }
}

/**
 * Returns the `ca.pem` that `telehub cert` keeps beside a certificate, with the text that devices must have. Undefined
 * when there is none, or when another authority has signed the certificate.
 */
export function authorityBeside(
  file: string,
  certificate: X509Certificate,
): (CertificateFacts & { readonly pem: string }) | undefined {
  const path = join(dirname(file), 'ca.pem')
  try {
    const pem = readFileSync(path, 'utf8')
    const authority = new X509Certificate(pem)
    if (!certificate.verify(authority.publicKey)) return undefined
    return { ...certificateFacts(path, authority), pem: authority.toString() }
  } catch {
    return undefined
  }
}

function onOneLine(name: string): string {
  return name.replaceAll('\n', ', ')
}
