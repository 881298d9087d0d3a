/*
 * Strict-Transport-Security is a setting (tls.hsts), off by default: the header holds for a host name on all ports, and
 * other services at that name may speak no TLS. Access-Control-…, for pages of other origins, is in cors.ts.
 */

/** Headers of every answer. A route may give another Cache-Control. */
const always: readonly (readonly [name: string, value: string])[] = [
  ['x-content-type-options', 'nosniff'],
  ['referrer-policy', 'no-referrer'],
  ['cross-origin-opener-policy', 'same-origin'],
  ['cross-origin-resource-policy', 'same-origin'],
  [
    'permissions-policy',
    'accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), microphone=(), midi=(), payment=(), usb=()',
  ],
  ['cache-control', 'no-store'],
]

export interface HeaderOptions {
  /**
   * How long browsers are to use TLS alone (RFC 6797); 0 for answers that are not sent over TLS (§7.2), or when that is
   * not wanted.
   */
  readonly hstsMs?: number | undefined
  /** Sites that may show the pages in a frame: `self`, origins, or `*` for every one. */
  readonly frames?: readonly string[] | undefined
}

/** Returns the headers of an answer to a request that named `host`. */
export function securityHeaders({
  hstsMs = 0,
  frames = [],
}: HeaderOptions = {}): (host: string | undefined) => (readonly [name: string, value: string])[] {
  const seconds = Math.floor(hstsMs / 1_000)
  const hsts = seconds > 0 ? ([['strict-transport-security', `max-age=${seconds}`]] as const) : []
  const ancestors = frames.map(site => (site === 'self' ? "'self'" : site)).join(' ') || "'none'"
  // For browsers that do not know frame-ancestors. The header cannot name other sites (RFC 7034 §2.1), and is left out.
  const option = frames.length === 0 ? 'DENY' : frames.every(site => site === 'self') ? 'SAMEORIGIN' : undefined
  const framing = option === undefined ? [] : ([['x-frame-options', option]] as const)
  return host => {
    // For some browsers, Safari before 15.4, 'self' does not include ws:.
    const sockets = host !== undefined && /^[\w.:[\]-]+$/.test(host) ? ` ws://${host} wss://${host}` : ''
    const policy = [
      "default-src 'none'",
      // No page has a script inside.
      "script-src 'self'",
      "style-src 'self'",
      "img-src 'self' data:",
      "manifest-src 'self'",
      `connect-src 'self'${sockets}`,
      "form-action 'self'",
      "base-uri 'none'",
      `frame-ancestors ${ancestors}`,
    ]
    return [...always, ...framing, ...hsts, ['content-security-policy', policy.join('; ')]]
  }
}
