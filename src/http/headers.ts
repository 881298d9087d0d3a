import { createHash } from 'node:crypto'

/*
 * Strict-Transport-Security is a setting (tls.hsts), off by default: the header holds for a host name on all ports, and
 * other services at that name may speak no TLS. No Access-Control-*: no page of another site reads anything here.
 */

/** Headers of every answer. A route may give another Cache-Control. */
const always: readonly (readonly [name: string, value: string])[] = [
  ['x-content-type-options', 'nosniff'],
  // For browsers that do not know frame-ancestors.
  ['x-frame-options', 'DENY'],
  ['referrer-policy', 'no-referrer'],
  ['cross-origin-opener-policy', 'same-origin'],
  ['cross-origin-resource-policy', 'same-origin'],
  [
    'permissions-policy',
    'accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), microphone=(), midi=(), payment=(), usb=()',
  ],
  ['cache-control', 'no-store'],
]

/**
 * Returns the headers of an answer to a request that named `host`, given the pages' HTML. `hstsMs`: how long browsers
 * are to use TLS alone (RFC 6797); 0 for answers that are not sent over TLS (§7.2), or when that is not wanted.
 */
export function securityHeaders(
  pages: readonly string[],
  hstsMs = 0,
): (host: string | undefined) => (readonly [name: string, value: string])[] {
  // The only script inside a page is the import map. An injected script has another hash.
  const hashes = pages.flatMap(page => [...page.matchAll(/<script type="importmap">([\s\S]*?)<\/script>/g)])
  const scripts = hashes.map(([, text = '']) => ` 'sha256-${createHash('sha256').update(text).digest('base64')}'`)
  const seconds = Math.floor(hstsMs / 1_000)
  const hsts = seconds > 0 ? ([['strict-transport-security', `max-age=${seconds}`]] as const) : []
  return host => {
    // For some browsers, Safari before 15.4, 'self' does not include ws:.
    const sockets = host !== undefined && /^[\w.:[\]-]+$/.test(host) ? ` ws://${host} wss://${host}` : ''
    const policy = [
      "default-src 'none'",
      `script-src 'self'${[...new Set(scripts)].join('')}`,
      "style-src 'self'",
      "img-src 'self' data:",
      `connect-src 'self'${sockets}`,
      "form-action 'self'",
      "base-uri 'none'",
      "frame-ancestors 'none'",
    ]
    return [...always, ...hsts, ['content-security-policy', policy.join('; ')]]
  }
}
