import { BlockList, isIP, isIPv4, isIPv6, SocketAddress } from 'node:net'

/**
 * Returns the one spelling of an address by which addresses are compared and counted. IPv4 addresses are written as
 * such, though a dual-stack socket reports `::ffff:192.0.2.1` (RFC 4291 §2.5.5.2). Undefined for any other text.
 */
export function plainAddress(text = ''): string | undefined {
  const version = isIP(text)
  if (version !== 6) return version === 4 ? text : undefined
  const { address } = new SocketAddress({ address: text, family: 'ipv6' })
  const mapped = address.slice('::ffff:'.length)
  return address.startsWith('::ffff:') && isIPv4(mapped) ? mapped : address
}

/** Decides whose connections are taken. */
export interface AddressGate {
  admits(address: string): boolean
}

/** Addresses and networks such as `10.0.0.7`, `10.0.0.0/8` or `::1`. */
export class Networks {
  // One list for each family: across families, Node 20's BlockList compares in ways of its own.
  readonly #ipv4 = new BlockList()
  readonly #ipv6 = new BlockList()

  constructor(networks: readonly string[]) {
    for (const network of networks) {
      const [given = '', bits] = network.split('/')
      const address = plainAddress(given) ?? given
      const size = isIPv4(address) ? 32 : 128
      const outside = size === 32 && isIPv6(given) ? 96 : 0
      const prefix = bits === undefined ? size : Math.max(0, Number(bits) - outside)
      if (size === 32) this.#ipv4.addSubnet(address, prefix, 'ipv4')
      else this.#ipv6.addSubnet(address, prefix, 'ipv6')
    }
  }

  /** Whether an address, spelled by {@link plainAddress}, is in one of these networks. */
  has(address: string): boolean {
    return isIPv4(address) ? this.#ipv4.check(address, 'ipv4') : this.#ipv6.check(address, 'ipv6')
  }
}

/**
 * Returns the source that an address is counted under: the address, or the first 64 bits of an IPv6 one. A line is
 * given a whole /64, so a client with one address of that network has them all.
 */
export function sourceOf(address: string): string {
  if (!isIPv6(address)) return address
  const [head = '', tail] = address.toLowerCase().split('%', 1)[0]?.split('::') ?? []
  const first = head.split(':').filter(Boolean)
  const last = tail?.split(':').filter(Boolean) ?? []
  const all = [...first, ...Array.from({ length: Math.max(0, 8 - first.length - last.length) }, () => '0'), ...last]
  return all
    .slice(0, 4)
    .map(part => part.replace(/^0+(?=.)/, ''))
    .join(':')
}

/** Returns a host as written in a URL, where an IPv6 address has brackets. */
export function inUrl(host: string): string {
  return host.includes(':') ? `[${host}]` : host
}
