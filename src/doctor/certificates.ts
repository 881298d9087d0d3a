import type { X509Certificate } from 'node:crypto'
import { isIP } from 'node:net'
import { describe } from '../errors.js'
import type { RevocationList } from '../transport/revocation.js'
import { loadTls, certificates as readChain, tlsPaths } from '../transport/tls.js'
import { type Check, type Finding, fine, problem, warning } from './finding.js'

/** Checks that the certificates of the settings fit together, do not expire soon, and name this hub. */
export const certificates: Check = ({ settings, clock }) => {
  const check = 'certificates'
  const paths = tlsPaths(settings)
  if (paths.cert === '') {
    const isOpen = settings.host !== '' && !['127.0.0.1', '::1', 'localhost'].includes(settings.host)
    if (!isOpen) return [fine(check, 'none: the hub listens on this machine alone')]
    return [
      warning(
        check,
        `none, and the hub listens on ${settings.host}: passwords and messages pass the network in the clear`,
        'Set tls.cert and tls.key (telehub cert makes a first pair), or let a proxy do TLS.',
      ),
    ]
  }
  let files: ReturnType<typeof loadTls>
  try {
    files = loadTls(paths)
  } catch (error) {
    return [problem(check, describe(error), 'Fix the files; the hub does not start with them.')]
  }
  const chain = readChain(files.cert)
  const found = [
    ...chain.flatMap((one, i) => validity(i === 0 ? 'tls.cert' : 'tls.cert, in its chain', one, clock.now(), true)),
    ...(files.ca ? readChain(files.ca).flatMap(one => validity('tls.ca', one, clock.now(), false)) : []),
    ...(files.crl ?? []).flatMap(list => listValidity(list, clock.now())),
    ...order(chain, paths.cert),
    ...names(chain[0] as X509Certificate, settings.host),
  ]
  if (found.length > 0) return found
  const own = chain[0] as X509Certificate
  return [
    fine(
      check,
      `${paths.cert} is for ${namesOf(own).join(', ') || own.subject}, until ${day(Date.parse(own.validTo))}`,
    ),
  ]
}

const dayMs = 864e5
const soonDays = 14

function validity(where: string, one: X509Certificate, now: number, isShown: boolean): Finding[] {
  const check = 'certificates'
  const name = one.subject.replaceAll('\n', ', ')
  const from = Date.parse(one.validFrom)
  const to = Date.parse(one.validTo)
  if (to <= now) {
    const effect = isShown ? 'clients refuse the hub' : 'clients with a certificate of this authority are refused'
    return [
      problem(
        check,
        `${where}: ${name} ended on ${day(to)}: ${effect}`,
        'Put a new one into the file; it acts at once.',
      ),
    ]
  }
  if (from > now) {
    return [
      problem(
        check,
        `${where}: ${name} is not valid before ${day(from)}`,
        'Is the clock right? If so, wait, or use another one.',
      ),
    ]
  }
  if (to - now < soonDays * dayMs) {
    return [warning(check, `${where}: ${name} ends on ${day(to)}`, 'Put a new one into the file; it acts at once.')]
  }
  return []
}

function listValidity({ from, to }: RevocationList, now: number): Finding[] {
  const remedy = 'Put a new list of the authority into the file; it acts at once.'
  if (to <= now) {
    const found = `tls.crl: a revocation list ended on ${day(to)}: every client of its authority is refused`
    return [problem('certificates', found, remedy)]
  }
  // Lists that are replaced every day always expire soon.
  const isSoon = to - now < Math.min(soonDays * dayMs, (to - from) / 4)
  return isSoon ? [warning('certificates', `tls.crl: a revocation list ends on ${day(to)}`, remedy)] : []
}

/** Checks that each certificate is signed by the next one. */
function order(chain: readonly X509Certificate[], path: string): Finding[] {
  for (const [i, one] of chain.slice(0, -1).entries()) {
    const next = chain[i + 1] as X509Certificate
    if (one.checkIssued(next)) continue
    return [
      problem(
        'certificates',
        `${path}: certificate ${i + 1} is not signed by certificate ${i + 2}: clients that know the authority alone refuse the hub`,
        "Put the hub's certificate first, then the one that signed it, and so on.",
      ),
    ]
  }
  return []
}

function names(own: X509Certificate, host: string): Finding[] {
  const all = namesOf(own)
  if (all.length === 0) {
    return [
      problem(
        'certificates',
        'tls.cert names no host (subjectAltName): clients of today refuse it',
        'Make one with the names and addresses by which clients reach the hub; telehub cert --name HOST does.',
      ),
    ]
  }
  // A hub that listens on all addresses or on loopback is reached under names that only the clients know.
  if (['0.0.0.0', '::', 'localhost'].includes(host) || host.startsWith('127.') || host === '::1') return []
  const isNamed = isIP(host) ? own.checkIP(host) : own.checkHost(host)
  if (isNamed) return []
  return [
    warning(
      'certificates',
      `tls.cert is for ${all.join(', ')}, and not for host ${host}: clients that connect by it refuse the hub`,
      `Make one for it (telehub cert --name ${host}), or let clients use one of its names.`,
    ),
  ]
}

function namesOf(one: X509Certificate): string[] {
  return (one.subjectAltName ?? '')
    .split(', ')
    .map(name => name.replace(/^(DNS|IP Address):/, ''))
    .filter(Boolean)
}

function day(ms: number): string {
  return new Date(ms).toISOString().slice(0, 10)
}
