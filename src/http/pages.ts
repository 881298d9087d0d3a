import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Asset, Assets } from './assets.js'
import { codingFor } from './compression.js'
import type { Guard } from './guard.js'

/** The pages with their addresses, without /login. */
const signedIn = [
  ['/', 'index.html'],
  ['/api/docs', 'docs.html'],
] as const

/** Addresses of the files of pages, and the pages. */
const files = [
  ['/index.html', '/'],
  ['/login.html', '/login'],
  ['/docs.html', '/api/docs'],
  ['/offline.html', '/offline'],
  ['/pair.html', '/pair'],
] as const

/** Files at fixed addresses that browsers fetch by themselves, without a login: none of them tells anything of the hub. */
const fetched = [
  'service-worker.js',
  'manifest.webmanifest',
  'icon-180.png',
  'icon-192.png',
  'icon-512.png',
  'icon-maskable.png',
]

/** Time after the start, which has more urgent things to do. */
const warmAfter = 1_500

const forAYear = 'public, max-age=31536000, immutable'

/** Serves the pages, their own files, and the libraries that they load. */
export async function pages(app: FastifyInstance, guard: Guard, assets: Assets): Promise<void> {
  const schema = { hide: true }
  const anyone = { allow: 'anyone' } as const
  const html = (reply: FastifyReply, name: string) => reply.type('text/html; charset=utf-8').send(assets.page(name))

  const warming = setTimeout(() => {
    // A file that cannot be read now is reported to the visitor who asks for it.
    assets.warm('index.html').catch(() => {})
  }, warmAfter)
  warming.unref()
  app.addHook('onClose', async () => clearTimeout(warming))

  // Browsers do not keep pages: after a sign-out the back button shows none.
  for (const [path, name] of signedIn) {
    app.get(path, { schema, config: { isPage: true } }, (_request, reply) => html(reply, name))
  }
  app.get('/login', { schema, config: anyone }, (_request, reply) =>
    guard.open ? reply.redirect('/') : html(reply, 'login.html'),
  )
  // A QR code leads here. The page has no code until a script reads it from the fragment, which is not sent.
  app.get('/pair', { schema, config: anyone }, (_request, reply) =>
    guard.open ? reply.redirect('/') : html(reply, 'pair.html'),
  )
  for (const [path, page] of files) {
    app.get(path, { schema, config: anyone }, (_request, reply) => reply.redirect(page))
  }

  for (const name of fetched) {
    app.get(`/${name}`, { schema, config: anyone }, (request, reply) =>
      sendFile(request, reply, assets.own.get(name), false),
    )
  }
  // Kept by browsers for the time when the hub cannot be reached. Tells nothing of the hub.
  app.get('/offline', { schema, config: anyone }, (_request, reply) => html(reply, 'offline.html'))

  type Named = { Params: { name: string; version?: string } }
  const own = (name: string) => async (request: FastifyRequest, reply: FastifyReply) => {
    const { version } = request.params as Named['Params']
    return sendFile(request, reply, assets.own.get(name), version === assets.version)
  }
  // Those of these pages are for everybody; the others are not told apart from what does not exist.
  const forAll = ['login.html', 'offline.html', 'pair.html']
  for (const name of new Set(forAll.flatMap(page => [...assets.filesOf(page)]))) {
    app.get(`/${name}`, { schema, config: anyone }, own(name))
    app.get(`/assets/:version/${name}`, { schema, config: anyone }, own(name))
  }
  app.get<Named>('/:name', { schema }, (request, reply) => own(request.params.name)(request, reply))
  app.get<Named>('/assets/:version/:name', { schema }, (request, reply) => own(request.params.name)(request, reply))
  app.get<Named>('/vendor/:name', { schema }, (request, reply) => {
    const { asset, isExact = false } = assets.library(request.params.name) ?? {}
    return sendFile(request, reply, asset, isExact)
  })
}

/**
 * Headers that say something about a page or a worker. Scripts and style sheets at their own addresses are neither, and there are
 * so many that these headers would be a quarter of a first visit.
 */
const ofPages = ['content-security-policy', 'permissions-policy', 'x-frame-options', 'cross-origin-opener-policy']

/** Sends a file. `isExact`: the address names the content, so that the answer may be kept for as long as one likes. */
async function sendFile(
  request: FastifyRequest,
  reply: FastifyReply,
  asset: Asset | undefined,
  isExact: boolean,
): Promise<FastifyReply> {
  if (!asset) return reply.callNotFound() as unknown as FastifyReply
  const etag = `"${asset.hash}"`
  reply
    .header('cache-control', isExact ? forAYear : 'no-cache')
    .header('vary', 'Accept-Encoding')
    .header('etag', etag)
  if (isExact) for (const name of ofPages) reply.raw.removeHeader(name)
  if (request.headers['if-none-match'] === etag) return reply.code(304).send()
  const coding = codingFor(request.headers['accept-encoding'])
  if (coding) reply.header('content-encoding', coding)
  return reply.type(asset.type).send(await asset.bytes(coding))
}
