import { lookup } from 'node:dns'
import { isIP, type LookupFunction } from 'node:net'
import { HubError } from '../errors.js'
import { Networks, plainAddress } from '../runtime/addresses.js'
import { type CallAnswer, call, type HttpCall } from '../runtime/http-call.js'
import { Undeliverable } from './target.js'

/**
 * Addresses that no public service has: of this machine, of private networks, of links, and those that translate to any
 * IPv4 address (RFC 6890, RFC 6052, RFC 3056, RFC 4380).
 */
const notPublic = new Networks([
  ...['0.0.0.0/8', '10.0.0.0/8', '100.64.0.0/10', '127.0.0.0/8', '169.254.0.0/16', '172.16.0.0/12', '192.0.0.0/24'],
  ...['192.0.2.0/24', '192.88.99.0/24', '192.168.0.0/16', '198.18.0.0/15', '198.51.100.0/24', '203.0.113.0/24'],
  ...['224.0.0.0/3', '::/96', '64:ff9b::/96', '64:ff9b:1::/48', '100::/64', '2001::/32', '2001:db8::/32', '2002::/16'],
  ...['fc00::/7', 'fe80::/10', 'fec0::/10', 'ff00::/8'],
])

export interface NotifyCall extends Omit<HttpCall, 'lookup' | 'agent'> {
  /** Refuses addresses that are not public, whatever name leads there. */
  readonly isPublicOnly: boolean
}

/**
 * Sends one request, and resolves with the answer. Follows no redirect, keeps no connection, and reads the beginning of
 * an answer only.
 */
export function callTarget({ isPublicOnly, ...asked }: NotifyCall): Promise<CallAnswer> {
  const host = asked.url.hostname.replace(/^\[|\]$/g, '')
  if (isPublicOnly && isIP(host) && !isPublic(host)) return Promise.reject(notAllowed(host))
  return call({ ...asked, ...(isPublicOnly && { lookup: publicLookup }) })
}

/** Whether an address, spelled in any way, is one of the public internet. */
export function isPublic(address: string): boolean {
  const plain = plainAddress(address.split('%', 1)[0])
  return plain !== undefined && !notPublic.has(plain)
}

/** Resolves names as usual, and fails for a name that leads to an address that is not public. */
const publicLookup: LookupFunction = (hostname, options, done) => {
  lookup(hostname, { ...options, all: true }, (error, found) => {
    if (error) return done(error, '', 0)
    const hidden = found.find(({ address }) => !isPublic(address))
    if (hidden || !found[0]) return done(notAllowed(hostname), '', 0)
    if (options.all) return done(null, found)
    return done(null, found[0].address, found[0].family)
  })
}

function notAllowed(host: string): Error {
  return new Undeliverable(`${host} is no address of the public internet; private: true in notify.file allows it`)
}

/** Throws unless an answer says that the request was taken: `Undeliverable` when another attempt makes no sense. */
export function requireTaken({ status, text, retryAfterMs }: CallAnswer): void {
  if (status >= 200 && status < 300) return
  // Cut where secrets are taken out: a part of one would not be found.
  const said = text.replace(/\s+/g, ' ').trim()
  const sentence = `answers with ${status}${said ? `: ${said}` : ''}`
  if (status >= 300 && status < 400) throw new Error(`${sentence}; redirects are not followed`)
  if ([400, 413, 415, 422].includes(status)) throw new Undeliverable(sentence)
  throw new HubError('overloaded', sentence, { retryAfterMs })
}
