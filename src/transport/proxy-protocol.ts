import type { IncomingHttpHeaders } from 'node:http'
import { isIP, type Socket } from 'node:net'
import { type Networks, plainAddress } from '../runtime/addresses.js'

/*
 * The address of a client behind a proxy: by PROXY protocol, before the first byte of a connection
 * (https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt), or by X-Forwarded-For, in an HTTP request.
 */

/**
 * Returns the address of the client that sent a request. Each trusted proxy has added to the end of X-Forwarded-For the
 * address from which the request came. Addresses before the last untrusted one are hearsay. A proxy that added none, or
 * no address, is the client.
 */
export function clientAddress(headers: IncomingHttpHeaders, remote: string, trusted: Networks): string {
  const hops = String(headers['x-forwarded-for'] ?? '').split(',')
  let address = remote
  while (trusted.has(address)) {
    const hop = hopAddress(hops.pop() ?? '')
    if (hop === undefined) break
    address = hop
  }
  return address
}

/** Reads one hop: `192.0.2.1`, `192.0.2.1:1234`, `2001:db8::1`, `[2001:db8::1]` and `[2001:db8::1]:1234` are in use. */
function hopAddress(hop: string): string | undefined {
  const text = hop.trim()
  return plainAddress(/^\[(.*)\](?::\d+)?$/.exec(text)?.[1] ?? /^([\d.]+):\d+$/.exec(text)?.[1] ?? text)
}

export interface ProxyHeader {
  /** Bytes of the header; bytes of the client follow. */
  readonly length: number
  /** The client's address. Undefined if the header names none, and that of the connection counts. */
  readonly address: string | undefined
}

const signatureV1 = Buffer.from('PROXY ')
const signatureV2 = Buffer.from('\r\n\r\n\0\r\nQUIT\n')

/** §2.1: the longest line there can be. */
const maxBytesV1 = 107

/** §2.2 allows 64 KB of extensions; no proxy sends as many, and any client might. */
const maxBytesV2 = 2_048

/** Returns the header that `bytes` begin with; undefined while incomplete. Throws as soon as there can be none. */
export function parseProxyHeader(bytes: Buffer): ProxyHeader | undefined {
  if (begins(bytes, signatureV1)) return parseV1(bytes)
  if (begins(bytes, signatureV2)) return parseV2(bytes)
  throw new Error('it does not begin with a PROXY header')
}

function begins(bytes: Buffer, signature: Buffer): boolean {
  const length = Math.min(bytes.length, signature.length)
  return bytes.compare(signature, 0, length, 0, length) === 0
}

/** Reads version 1: `PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n`, `PROXY UNKNOWN …\r\n`. */
function parseV1(bytes: Buffer): ProxyHeader | undefined {
  const end = bytes.subarray(0, maxBytesV1).indexOf('\r\n')
  if (end < 0) {
    if (bytes.length >= maxBytesV1) throw new Error(`its line is longer than ${maxBytesV1} bytes`)
    return undefined
  }
  const length = end + 2
  const [, family, source = '', destination = '', ...ports] = bytes.toString('latin1', 0, end).split(' ')
  if (family === 'UNKNOWN') return { length, address: undefined }
  const version = family === 'TCP4' ? 4 : family === 'TCP6' ? 6 : Number.NaN
  const isWell = isIP(source) === version && isIP(destination) === version && ports.length === 2 && ports.every(isPort)
  if (!isWell) throw new Error('its line has neither TCP4 or TCP6 addresses and ports, nor UNKNOWN')
  return { length, address: plainAddress(source) }
}

function isPort(text: string): boolean {
  return /^(0|[1-9]\d{0,4})$/.test(text) && Number(text) <= 65_535
}

/** Bytes of both addresses and ports, by family: UNSPEC, INET, INET6, UNIX. */
const addressBytes = [0, 12, 36, 216]

/**
 * Reads version 2: signature, version and command, family and transport, length; then addresses and extensions of that
 * length.
 */
function parseV2(bytes: Buffer): ProxyHeader | undefined {
  const at = signatureV2.length
  if (bytes.length < at + 4) return undefined
  const command = bytes.readUInt8(at)
  const family = bytes.readUInt8(at + 1) >> 4
  const transport = bytes.readUInt8(at + 1) & 15
  const length = at + 4 + bytes.readUInt16BE(at + 2)
  if (command !== 0x20 && command !== 0x21) throw new Error('its command is neither LOCAL nor PROXY of version 2')
  if (length > maxBytesV2) throw new Error(`it is longer than ${maxBytesV2} bytes`)
  // LOCAL: the proxy speaks for itself, as for a health check. Only the length of the rest counts.
  const isLocal = command === 0x20
  if (!isLocal && (transport > 2 || length - at - 4 < (addressBytes[family] ?? Number.POSITIVE_INFINITY))) {
    throw new Error('its addresses have an unknown family, or are too short')
  }
  if (bytes.length < length) return undefined
  const source = bytes.subarray(at + 4)
  if (!isLocal && family === 1) return { length, address: source.subarray(0, 4).join('.') }
  if (!isLocal && family === 2) {
    const groups = source.toString('hex', 0, 16).match(/.{4}/g) ?? []
    return { length, address: plainAddress(groups.join(':')) }
  }
  return { length, address: undefined }
}

/**
 * Takes a PROXY header from the front of an unread connection, and leaves the bytes after the header there. Calls
 * `known` or `malformed`, once; neither if the connection closes before.
 */
export function readProxyHeader(
  socket: Socket,
  known: (address: string | undefined) => void,
  malformed: (why: string) => void,
): void {
  let received = Buffer.alloc(0)
  const read = () => {
    const chunk: Buffer | null = socket.read()
    if (chunk === null) return
    received = Buffer.concat([received, chunk])
    let header: ProxyHeader | undefined
    try {
      header = parseProxyHeader(received)
    } catch (error) {
      socket.off('readable', read)
      malformed((error as Error).message)
      return
    }
    if (!header) return
    socket.off('readable', read)
    if (received.length > header.length) socket.unshift(received.subarray(header.length))
    known(header.address)
  }
  socket.on('readable', read)
}

/** Returns whether a page's host is one of the hosts under which the hub was addressed. */
export function isOwnPage(origin: string, hosts: readonly string[]): boolean {
  if (!/^https?:/.test(origin) || !URL.canParse(origin)) return false
  const { protocol, host } = new URL(origin)
  // Hosts are compared under the page's scheme, as a proxy may have removed TLS. A URL omits the scheme's default port.
  const urls = hosts.map(own => `${protocol}//${own.trim()}`)
  return urls.some(own => URL.canParse(own) && new URL(own).host === host)
}
