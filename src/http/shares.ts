import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { type Bans, type Logins, type ShareLinks, stampOf } from '../auth/admission.js'
import { HubError } from '../errors.js'
import type { Auditor } from '../observe/audit.js'
import type { PipelineApi } from '../pipeline/pipeline-api.js'
import type { MicrosecondClock } from '../runtime/time.js'
import { changeBy } from './changes.js'
import { type AuthorityPort, callerName, type Guard, tooMany } from './guard.js'
import { serve } from './route.js'

interface ShareRoutesOptions {
  readonly authority: AuthorityPort | undefined
  readonly logins: Logins
  readonly bans: Pick<Bans, 'failed' | 'leftMs'>
  readonly pipeline: PipelineApi
  readonly guard: Guard
  readonly clock: MicrosecondClock
  readonly audit: Auditor
}

/** Interval at which it is asked which topics a shared board has: devices come, and boards are changed. */
const askEveryMs = 2_000

/** Keeps what links share as the boards are now. */
export class ShareScopes {
  readonly #links: ShareLinks
  readonly #pipeline: Pick<PipelineApi, 'boardScope'>
  #timer: NodeJS.Timeout | undefined
  #asking: Promise<void> | undefined

  constructor(links: ShareLinks, pipeline: Pick<PipelineApi, 'boardScope'>) {
    this.#links = links
    this.#pipeline = pipeline
  }

  start(): void {
    this.#timer = setInterval(() => void this.refresh(), askEveryMs).unref()
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  /** Resolves when the links share what is on their boards. A pipeline that does not answer is asked next time. */
  refresh(): Promise<void> {
    this.#asking ??= this.#ask()
      .catch(() => {})
      .finally(() => {
        this.#asking = undefined
      })
    return this.#asking
  }

  /** Resolves with whether there is such a board, whose scope is then known. */
  async learn(board: string): Promise<boolean> {
    const scope = await this.#pipeline.boardScope({ board })
    if (scope) this.#links.setScope(board, scope)
    return scope !== undefined
  }

  async #ask(): Promise<void> {
    for (const board of new Set(this.#links.list.map(link => link.board))) {
      // A board that is deleted shares nothing, and so do the links to the board.
      if (!(await this.learn(board))) this.#links.setScope(board, { topics: [], series: [] })
    }
  }
}

/** Routes that make, list and end links to a board, and the address of a link. */
export async function shareRoutes(app: FastifyInstance, options: ShareRoutesOptions): Promise<void> {
  const { authority, logins, bans, pipeline, guard, audit } = options
  const links = authority?.links
  const scopes = links && new ShareScopes(links, pipeline)
  if (!guard.open) scopes?.start()
  app.addHook('onClose', async () => scopes?.stop())
  const now = () => options.clock.now() / 1_000

  serve(app, 'GET /api/shares', () => ({ shares: links?.list ?? [] }))

  serve(app, 'POST /api/shares', async ({ board, expires }, call) => {
    if (!links || !scopes || guard.open) {
      throw new HubError(
        'bad_request',
        'this hub has no login (auth.file), so everybody sees its boards: give the address of the board to others',
        { said: { code: 'no-login-share', values: {} } },
      )
    }
    if (!(await scopes.learn(board)))
      throw new HubError('not_found', `there is no board ${JSON.stringify(board)}`, {
        said: { code: 'no-board', values: {} },
      })
    const { id, token } = await links.make({ board, expires, by: callerName(call.caller) })
    const detail = `link ${id} to board ${board} until ${new Date(expires).toISOString()}`
    audit.record({ ...changeBy(call, guard), result: 'ok', what: 'share board', detail })
    return { id, path: `/share/${token}`, expires }
  })

  serve(app, 'POST /api/shares/end', async ({ id }, call) => {
    const link = await links?.end(id)
    if (!link) throw new HubError('not_found', 'there is no such link', { said: { code: 'no-link', values: {} } })
    const detail = `link ${id} to board ${link.board}`
    audit.record({ ...changeBy(call, guard), result: 'ok', what: 'end share of board', detail })
    return { ended: true as const }
  })

  app.get<{ Params: { token: string }; Querystring: { kiosk?: string } }>(
    '/share/:token',
    { schema: { hide: true }, config: { allow: 'anyone' } },
    (request, reply) => open(request, reply, request.params.token, request.query.kiosk !== undefined),
  )

  function open(request: FastifyRequest, reply: FastifyReply, token: string, isKiosk: boolean): FastifyReply {
    if (guard.open || !authority || !links) return reply.redirect('/')
    const address = guard.address(request.raw)
    const waitMs = bans.leftMs(address)
    if (waitMs > 0) throw tooMany(waitMs)
    const link = links.find(token)
    if (!link) {
      bans.failed(address)
      throw new HubError('not_found', 'this link is wrong or has ended; ask for a new one')
    }
    const user = links.userOf(link)
    const before = guard.loginOf(request)
    // A signed-in user stays so, and sees the board with the rights of that login.
    if (!before || links.isVisitor(before.user)) {
      if (before && before.user !== user && before.login) logins.end(before.login)
      if (before?.user !== user) {
        const agent = request.headers['user-agent'] ?? ''
        const known = authority.user(user)
        if (!known) throw new HubError('not_found', 'this link has ended; ask for a new one')
        const { cookie } = logins.begin(user, stampOf(known), { address, agent })
        guard.setCookie(request, reply, cookie, link.expires - now())
        audit.repeated({ event: 'login', result: 'ok', user, address, via: 'http', detail: `by link ${link.id}` })
      }
    }
    const to = `/${isKiosk ? '?kiosk' : ''}#${new URLSearchParams({ board: link.board })}`
    // A redirect would count as coming from the page with the link, and not send the new cookie (SameSite=Strict).
    return reply
      .type('text/html; charset=utf-8')
      .send(
        `<!doctype html><meta http-equiv="refresh" content="0; url=${htmlOf(to)}"><a href="${htmlOf(to)}">telehub</a>`,
      )
  }
}

function htmlOf(text: string): string {
  return text.replace(/[&<>"']/g, char => `&#${char.charCodeAt(0)};`)
}
