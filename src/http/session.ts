import type { FastifyInstance } from 'fastify'
import type { Bans, Logins, Paired, PairedFrom } from '../auth/admission.js'
import { HubError } from '../errors.js'
import type { Auditor } from '../observe/audit.js'
import { sourceOf } from '../runtime/addresses.js'
import { Attempts } from '../runtime/attempts.js'
import type { MicrosecondClock } from '../runtime/time.js'
import type { Listeners } from '../transport/listeners.js'
import { plainPairingCode } from '../users/users.js'
import { type AuthorityPort, type Guard, mayLogIn, tooMany } from './guard.js'
import { mqttUrls } from './own-urls.js'
import { RequestRefused } from './refusals.js'
import { serve } from './route.js'

/** Turns pairing codes into credentials. Implemented by `DevicePairing`. */
export interface PairingDesk {
  /** Resolves with undefined, or rejects, when there is no such code. */
  redeem(code: string, from: PairedFrom): Promise<Paired | undefined>
  /** Returns when and from where a device has paired last. */
  last(user: string): PairedFrom | undefined
}

export interface SessionOptions {
  readonly guard: Guard
  readonly authority: AuthorityPort | undefined
  readonly logins: Logins
  readonly pairing: PairingDesk
  /** Microseconds since the epoch. */
  readonly clock: MicrosecondClock
  readonly audit: Auditor
  readonly bans: Pick<Bans, 'failed' | 'leftMs'>
  readonly listeners: Pick<Listeners, 'mqttUrl' | 'mqttsUrl'>
}

/**
 * Codes that one source may try in a minute, right or wrong. There is no limit over all sources, as one source could
 * use up the tries of the others: a code is good for ten minutes, and has 60 bits.
 */
const pairingAttempts = 10

/** Maximum size of a body. Requests here are short; a longer one comes from no client of the hub. */
const bodyLimit = 4_096

/** Routes to sign in, to sign out, to ask who is signed in, to get a password for MQTT, and to pair. */
export async function sessionRoutes(app: FastifyInstance, options: SessionOptions): Promise<void> {
  const { guard, authority, logins, pairing, audit, bans } = options
  const now = () => options.clock.now() / 1_000
  const attempts = new Attempts(pairingAttempts)

  // An empty body is valid, too: a sign-out has nothing to send.
  const parseJson = app.getDefaultJsonParser('error', 'error')
  app.removeContentTypeParser('application/json')
  app.addContentTypeParser<string>('application/json', { parseAs: 'string' }, (request, body, done) => {
    if (body === '') done(null, undefined)
    else parseJson(request, body, done)
  })

  serve(
    app,
    'POST /api/login',
    async ({ user: name, password }, { request, reply }) => {
      if (guard.open || !authority)
        throw new HubError('bad_request', 'this hub has no login (auth.file)', {
          said: { code: 'no-login', values: {} },
        })
      const wrong = (detail: string) =>
        new RequestRefused('password', 'unauthorized', 'the name or the password is wrong', { user: name, detail })
      // A key or a token must not become a login that outlives the key or token.
      if (/^th[akt]_/.test(password)) throw wrong('a key or a token in place of the password')
      const verdict = await guard.authenticate(request, { username: name, password })
      if ('refused' in verdict && verdict.refused === 'busy') throw tooMany(verdict.retryAfterMs)
      // The check takes a while: the user must still be as checked.
      if ('refused' in verdict) throw wrong(verdict.why)
      if (verdict.user !== name || !verdict.isValid()) throw wrong('the users file has changed meanwhile')
      if (!mayLogIn(verdict.kind)) {
        throw new HubError('forbidden', `user ${name} is a ${verdict.kind}; dashboards and admins may sign in here`, {
          said: { code: 'may-not-sign-in', values: { user: name } },
        })
      }
      // A cookie that another party has put there gets no new rights: the login of that cookie ends.
      const before = guard.loginOf(request)?.login
      if (before) logins.end(before)
      const address = guard.address(request.raw)
      const agent = request.headers['user-agent'] ?? ''
      const { cookie, expires } = logins.begin(name, verdict.stamp, { address, agent })
      audit.repeated({ event: 'login', result: 'ok', user: name, address, via: 'http', detail: `a ${verdict.kind}` })
      guard.setCookie(request, reply, cookie, expires - now())
      return undefined
    },
    { bodyLimit },
  )

  serve(
    app,
    'POST /api/logout',
    (_asked, { request, reply }) => {
      const { login, user } = guard.loginOf(request) ?? {}
      const address = guard.address(request.raw)
      if (login) {
        logins.end(login)
        audit.repeated({ event: 'logout', result: 'ok', user, address, via: 'http' })
      }
      guard.setCookie(request, reply, undefined)
      return undefined
    },
    { bodyLimit },
  )

  serve(app, 'GET /api/session', (_asked, { caller: { user, kind, anonymous, share } }) => {
    const auth = guard.open && !guard.isAnonymous ? 'open' : anonymous || guard.open ? 'anonymous' : 'required'
    const shared = share && { board: share.board, expires: authority?.links.visited(user)?.expires ?? 0 }
    return { auth, user, kind, mayChange: kind === 'admin', ...(shared && { share: shared }) } as const
  })

  serve(
    app,
    'POST /api/session/token',
    (_asked, { request, reply, caller: { user, login, anonymous } }) => {
      if (login === undefined) {
        if (anonymous) return {}
        throw new HubError(
          'forbidden',
          'tokens are for pages that are signed in; over MQTT use an API key as the password',
        )
      }
      const { token, expires } = logins.token(login)
      guard.slideCookie(request, reply, logins.leftMs(login))
      return { username: user, password: token, expires }
    },
    { bodyLimit },
  )

  serve(
    app,
    'POST /api/pair',
    async (asked, { request }) => {
      const address = guard.address(request.raw)
      const wait = bans.leftMs(address) || attempts.take(sourceOf(address), now())
      if (wait > 0) throw tooMany(wait)
      const code = plainPairingCode(asked.code)
      const from = { at: now(), address }
      const paired =
        code.length === 12
          ? await pairing.redeem(code, from).catch(wrongCodeOf)
          : wrongCode('it does not have 12 characters')
      if (!paired || paired instanceof HubError) {
        bans.failed(address)
        throw paired ?? wrongCode('there is no such code')
      }
      audit.record({ event: 'pairing', result: 'ok', user: paired.user, address, via: 'http' })
      const { mqttsUrl, mqttUrl } = options.listeners
      return { ...paired, addresses: mqttUrls(request.headers.host, [mqttsUrl, mqttUrl]) }
    },
    { bodyLimit },
  )
}

function wrongCode(detail: string): HubError {
  const message = 'this code is wrong, already used, or older than ten minutes; telehub device pair makes a new one'
  return new RequestRefused('pairing', 'forbidden', message, { detail, said: { code: 'wrong-code', values: {} } })
}

function wrongCodeOf(error: unknown): HubError {
  if (error instanceof HubError && error.code === 'forbidden') return wrongCode(error.message)
  throw error
}
