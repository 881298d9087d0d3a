import {
  createPrivateKey,
  createPublicKey,
  generateKeyPair,
  type KeyObject,
  randomBytes,
  X509Certificate,
} from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, statSync } from 'node:fs'
import { isIP } from 'node:net'
import { hostname, networkInterfaces } from 'node:os'
import { join, resolve } from 'node:path'
import { domainToASCII } from 'node:url'
import { promisify } from 'node:util'
import forge from 'node-forge'
import { replaceFileSync } from '../disk/replace-file.js'
import { describe, HubError, systemCode } from '../errors.js'
import { type Terminal, usage } from './command.js'

/*
 * `telehub cert`: a private certificate authority for a first set-up, and the certificates signed by that authority. In
 * the folder:
 *
 *     ca.pem           ca.key           made once, then kept: devices trust this authority
 *     server.pem       server.key       for this machine's names and addresses
 *     client-NAME.pem  client-NAME.key  for the user NAME
 *
 * An existing key is used and never overwritten. Only certificates signed by this authority are overwritten.
 */

/** Values of the flags of the command. */
interface CertificateFlags {
  readonly dir?: string
  readonly name?: readonly string[]
  readonly client?: readonly string[]
  readonly days?: string
}

type CertTerminal = Pick<Terminal, 'out' | 'now'>

interface Order {
  readonly dir: string
  readonly names: readonly string[]
  readonly clients: readonly string[]
  readonly days: number
}

interface CertificateAuthority {
  readonly certificate: forge.pki.Certificate
  readonly key: forge.pki.rsa.PrivateKey
  /** The same certificate, as Node parses the file. */
  readonly x509: X509Certificate
}

/** Subject and use of a certificate. */
interface CertificateSubject {
  /** Name of the two files, without the extension. */
  readonly file: string
  readonly name: string
  readonly usage: 'serverAuth' | 'clientAuth'
  /** DNS names and IP addresses. */
  readonly hosts: readonly string[]
}

const dayMs = 864e5

/** Longest validity that browsers and iOS accept from a private authority. */
const maxDays = 825

const authorityDays = 3_650

/** How long before now validity begins, as clocks of devices may be slow. */
const earlyMs = 36e5

/** Makes the certificates that the flags name, and prints how to use them. Throws a `HubError`. */
export async function certify(flags: CertificateFlags, terminal: CertTerminal): Promise<void> {
  const order = orderOf(flags)
  const { dir, names, clients, days } = order
  try {
    mkdirSync(dir, { recursive: true, mode: 0o700 })
    const authority = await openAuthority(dir, terminal)
    const known = hostsOf(dir, authority)
    // A call for clients alone needs no new certificate for the server.
    if (!known || names.length > 0 || clients.length === 0) {
      const hosts = [...new Set([...names, ...(known ?? []), ...ownHosts()])]
      const server: CertificateSubject = { file: 'server', name: hosts[0] as string, usage: 'serverAuth', hosts }
      await issue(authority, server, dir, days, terminal)
    }
    for (const name of clients) {
      await issue(authority, { file: `client-${name}`, name, usage: 'clientAuth', hosts: [] }, dir, days, terminal)
    }
    const [host] = hostsOf(dir, authority) ?? []
    terminal.out(advice(dir, names[0] ?? host ?? 'localhost', clients, authority))
  } catch (error) {
    if (error instanceof HubError || systemCode(error) === undefined) throw error
    throw new HubError('bad_settings', `--dir: ${dir}: ${describe(error)}`, { cause: error })
  }
}

function orderOf(flags: CertificateFlags): Order {
  const { dir = 'certs', name: names = [], client: clients = [], days: given = String(maxDays) } = flags
  const days = /^\d{1,4}$/.test(given) ? Number(given) : 0
  if (days < 1 || days > maxDays) {
    throw usage(`--days: given ${given}, allowed is a whole number from 1 to ${maxDays}`)
  }
  for (const client of clients) {
    if (!/^[a-z\d][\w.@-]{0,63}$/i.test(client)) {
      throw usage(`--client: given ${JSON.stringify(client)}, allowed is the name of a user: letters, digits, . _ @ -`)
    }
  }
  return { dir, names: names.map(hostName), clients: [...new Set(clients)], days }
}

/** Returns a host in the form used in certificates. */
function hostName(given: string): string {
  const name = isIP(given) ? given : domainToASCII(given)
  if (isIP(name) || isDnsName(name)) return name
  throw usage(`--name: given ${JSON.stringify(given)}, allowed is a host name or an address, without a port`)
}

function isDnsName(name: string): boolean {
  const labels = name.replace(/^\*\./, '').split('.')
  return name.length <= 253 && labels.every(label => /^[a-z\d_]([a-z\d_-]{0,61}[a-z\d_])?$/i.test(label))
}

/** Lists the names and addresses of this machine. */
function ownHosts(): string[] {
  const host = hostname().toLowerCase()
  const addresses = Object.values(networkInterfaces())
    .flatMap(one => one ?? [])
    // An address that is valid on one link only is of no use without the name of that link.
    .filter(({ internal, scopeid }) => !internal && !scopeid)
    .map(({ address }) => address)
  const names = isDnsName(host) ? [host, ...(host.includes('.') ? [] : [`${host}.local`])] : []
  return [...names, 'localhost', '127.0.0.1', '::1', ...addresses]
}

/** Opens the authority of the folder, and creates one if there is none. */
async function openAuthority(dir: string, { out, now }: CertTerminal): Promise<CertificateAuthority> {
  const paths = { pem: join(dir, 'ca.pem'), key: join(dir, 'ca.key') }
  if (existsSync(paths.pem) && !existsSync(paths.key)) {
    throw refused(paths.pem, 'exists without its ca.key, which is needed to sign')
  }
  const privateKey = await keyAt(paths.key, 3_072)
  const key = forge.pki.privateKeyFromPem(pemOf(privateKey)) as forge.pki.rsa.PrivateKey
  if (!existsSync(paths.pem)) {
    const name = `telehub CA ${hostname().slice(0, 40)} ${randomBytes(2).toString('hex')}`
    const certificate = blank(privateKey, name, now() + authorityDays * dayMs, now())
    certificate.setIssuer(certificate.subject.attributes)
    certificate.setExtensions([
      { name: 'basicConstraints', critical: true, cA: true, pathLenConstraint: 0 },
      { name: 'keyUsage', critical: true, keyCertSign: true, cRLSign: true },
      { name: 'subjectKeyIdentifier' },
    ])
    certificate.sign(key, forge.md.sha256.create())
    write(paths.pem, forge.pki.certificateToPem(certificate), 0o644)
  }
  const { certificate, x509 } = read(paths.pem)
  if (!x509.ca || !x509.checkPrivateKey(privateKey)) throw refused(paths.pem, 'and ca.key do not belong together')
  const end = Date.parse(x509.validTo)
  if (end <= now()) throw refused(paths.pem, `expired on ${day(end)}, with all certificates that it signed`)
  if ((statSync(paths.key).mode & 0o077) !== 0) out(`${paths.key} can be read by other users: chmod 600 it\n`)
  return { certificate, key, x509 }
}

/**
 * Reads the names in the certificate of the server. Undefined if there is none. Throws if another authority signed
 * that.
 */
function hostsOf(dir: string, authority: CertificateAuthority): string[] | undefined {
  const path = join(dir, 'server.pem')
  if (!existsSync(path)) return undefined
  const { altNames } = signed(path, authority).getExtension('subjectAltName') as { altNames?: AltName[] }
  return altNames?.map(({ value, ip }) => ip ?? value)
}

interface AltName {
  readonly value: string
  readonly ip?: string
}

async function issue(
  authority: CertificateAuthority,
  subject: CertificateSubject,
  dir: string,
  days: number,
  terminal: CertTerminal,
) {
  const { file, name, usage, hosts } = subject
  const { out, now } = terminal
  const path = join(dir, `${file}.pem`)
  const isRenewed = existsSync(path)
  if (isRenewed) signed(path, authority)
  const privateKey = await keyAt(join(dir, `${file}.key`), 2_048)
  const end = Math.min(now() + days * dayMs, Date.parse(authority.x509.validTo))
  const certificate = blank(privateKey, name.slice(0, 64), end, now())
  certificate.setIssuer(authority.certificate.subject.attributes)
  const altNames = hosts.map(host => (isIP(host) ? { type: 7, ip: host } : { type: 2, value: host }))
  certificate.setExtensions([
    { name: 'basicConstraints', critical: true, cA: false },
    { name: 'keyUsage', critical: true, digitalSignature: true, keyEncipherment: usage === 'serverAuth' },
    { name: 'extKeyUsage', [usage]: true },
    { name: 'subjectKeyIdentifier' },
    {
      name: 'authorityKeyIdentifier',
      keyIdentifier: authority.certificate.generateSubjectKeyIdentifier().getBytes(),
    },
    ...(altNames.length > 0 ? [{ name: 'subjectAltName', altNames }] : []),
  ])
  certificate.sign(authority.key, forge.md.sha256.create())
  write(path, forge.pki.certificateToPem(certificate), 0o644)
  const whom = usage === 'serverAuth' ? hosts.join(', ') : `the user ${name}`
  out(`${path} ${isRenewed ? 'renewed' : 'made'}, until ${day(end)}, for ${whom}\n`)
}

/** Creates an unsigned certificate with name, key, serial number and period of validity. */
function blank(key: KeyObject, name: string, end: number, now: number): forge.pki.Certificate {
  const certificate = forge.pki.createCertificate()
  certificate.publicKey = forge.pki.publicKeyFromPem(
    createPublicKey(key).export({ type: 'spki', format: 'pem' }) as string,
  )
  // 128 random bits; the byte before keeps the number positive.
  certificate.serialNumber = `01${randomBytes(16).toString('hex')}`
  certificate.validity.notBefore = new Date(now - earlyMs)
  certificate.validity.notAfter = new Date(end)
  const valueTagClass = forge.asn1.Type.UTF8 as unknown as forge.asn1.Class
  certificate.setSubject([
    { name: 'commonName', value: name, valueTagClass },
    { name: 'organizationName', value: 'telehub', valueTagClass },
  ])
  return certificate
}

/** Reads the RSA key of a file, and creates one if there is none. */
async function keyAt(path: string, modulusLength: number): Promise<KeyObject> {
  if (!existsSync(path)) {
    const { privateKey } = await promisify(generateKeyPair)('rsa', { modulusLength })
    write(path, pemOf(privateKey), 0o600)
    return privateKey
  }
  let key: KeyObject
  try {
    key = createPrivateKey(readFileSync(path))
  } catch (error) {
    if (systemCode(error) === 'EACCES') throw error
    throw refused(path, `holds no private key (${describe(error)})`)
  }
  if (key.asymmetricKeyType === 'rsa') return key
  throw refused(path, `is a key of the kind ${key.asymmetricKeyType}, but telehub cert needs an RSA key`)
}

function pemOf(key: KeyObject): string {
  return key.export({ type: 'pkcs8', format: 'pem' }) as string
}

/**
 * Reads a certificate of this authority. Throws when another authority signed the file, as that must not be replaced.
 */
function signed(path: string, authority: CertificateAuthority): forge.pki.Certificate {
  const { certificate, x509 } = read(path)
  if (x509.verify(authority.x509.publicKey)) return certificate
  throw refused(path, 'was not signed by the ca.pem beside it, and was not changed')
}

function read(path: string): { certificate: forge.pki.Certificate; x509: X509Certificate } {
  try {
    const pem = readFileSync(path, 'utf8')
    return { certificate: forge.pki.certificateFromPem(pem), x509: new X509Certificate(pem) }
  } catch (error) {
    if (systemCode(error) === 'EACCES') throw error
    throw refused(path, `was not made by telehub cert (${describe(error)})`)
  }
}

function refused(path: string, why: string): HubError {
  return new HubError('bad_settings', `${path} ${why}; move it away, or name another folder with --dir`)
}

/** Replaces a file: afterwards the old content or the new one is there, never a part. */
function write(path: string, pem: string, mode: number): void {
  const text = pem.replaceAll('\r\n', '\n')
  replaceFileSync(path, text, { mode })
}

function day(ms: number): string {
  return new Date(ms).toISOString().slice(0, 10)
}

/** Returns the instructions for use. */
function advice(dir: string, host: string, clients: readonly string[], { x509 }: CertificateAuthority): string {
  const at = (name: string) => resolve(dir, name)
  const yaml = (name: string) => (/^[\w./-]+$/.test(at(name)) ? at(name) : JSON.stringify(at(name)))
  const shell = (text: string) => (/^[\w./:@-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`)
  const own = (name: string) =>
    ` --cert ${shell(at(`client-${name}.pem`))} --key ${shell(at(`client-${name}.key`))} -i ${shell(name)}`
  const publish = (flags: string) =>
    `  mosquitto_pub -h ${shell(host)} -p 8883 --cafile ${shell(at('ca.pem'))}${flags} -q 1 -t devices/${first ?? 'test'}/telemetry -m '{"value": 1}'`
  const [first] = clients
  return [
    '',
    'Put this into telehub.yaml (a running hub reads renewed certificates by itself):',
    '',
    '  mqtts.port: 8883',
    '  tls:',
    `    cert: ${yaml('server.pem')}`,
    `    key: ${yaml('server.key')}`,
    ...(first ? [`    ca: ${yaml('ca.pem')}`, '    clients: optional      # or required: no client without one'] : []),
    '',
    `Give ca.pem to devices and browsers${first ? ', and to each client its own .pem and .key' : ''}. Keep ca.key secret: anyone who has it can impersonate any client.`,
    '',
    publish(first ? own(first) : ''),
    '',
    ...(first
      ? [
          `The user ${first} must be in the users file (auth.file), and may publish if this command answers yes:`,
          '',
          `  telehub explain --user ${first} --client ${first} --publish devices/${first}/telemetry`,
          '',
          'If it answers no, try another client id (-i) or topic (-t): telehub user show lists what is allowed.',
          '',
        ]
      : []),
    `On an ESP32: client.setCACert(text of ca.pem)${first ? ', setCertificate, setPrivateKey' : ''} of WiFiClientSecure; port 8883, and the host by a name above.`,
    '',
    `SHA-256 fingerprint of ca.pem: ${x509.fingerprint256}`,
    '',
  ].join('\n')
}
