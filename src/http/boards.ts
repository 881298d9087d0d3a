import type { FastifyInstance } from 'fastify'
import type { Answer, Json } from '../contract/contract.js'
import type { Auditor } from '../observe/audit.js'
import type { PipelineApi } from '../pipeline/pipeline-api.js'
import { changeBy } from './changes.js'
import { callerName, type Guard, readRulesOf } from './guard.js'
import { type RouteCall, serve } from './route.js'

interface BoardRoutesOptions {
  readonly pipeline: PipelineApi
  readonly guard: Guard
  readonly audit: Auditor
}

/** Largest body with edits. */
const bodyLimit = 4e6

/** Longest part of a change in the audit log. */
const maxDetail = 2_000

/** Routes of the catalogue of devices, of what people change about it, and of boards. */
export async function boardRoutes(app: FastifyInstance, { pipeline, guard, audit }: BoardRoutesOptions): Promise<void> {
  const callerOf = ({ caller }: RouteCall) => ({
    user: callerName(caller),
    rules: readRulesOf(caller, '#'),
    mayEdit: caller.kind === 'admin',
    board: caller.share?.board,
  })
  const matchOf = ({ request }: RouteCall) => request.headers['if-match']

  serve(app, 'GET /api/home', (asked, { caller }) =>
    pipeline.home({
      ...asked,
      rules: readRulesOf(caller, '#'),
      publish: caller.access?.publishRules,
      board: caller.share?.board,
    }),
  )

  serve(app, 'GET /api/boards', async (_asked, call) => tagged(await pipeline.boards(callerOf(call)), call))

  serve(
    app,
    'PATCH /api/boards',
    async (patch, call) => {
      const answer = await pipeline.patchBoards({ caller: callerOf(call), match: matchOf(call), patch })
      const detail = JSON.stringify(patch).slice(0, maxDetail)
      audit.record({ ...changeBy(call, guard), result: 'ok', what: 'edit boards', detail })
      return tagged(answer, call)
    },
    { bodyLimit },
  )

  serve(app, 'POST /api/boards/undo', async (_asked, call) => {
    const answer = await pipeline.undoBoards({ caller: callerOf(call), match: matchOf(call) })
    audit.record({ ...changeBy(call, guard), result: 'ok', what: 'undo edit of boards' })
    return tagged(answer, call)
  })

  serve(app, 'POST /api/boards/favourites', async ({ devices }, { caller }) => {
    await pipeline.setFavourites({ user: callerName(caller), devices })
    return { changed: true as const }
  })

  function tagged(json: Json<Answer<'GET /api/boards'>>, { reply }: RouteCall) {
    const { revision } = JSON.parse(Buffer.from(json).toString()) as Answer<'GET /api/boards'>
    reply.header('etag', revision)
    return json
  }
}
