import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join, posix } from 'node:path'
import { fileURLToPath } from 'node:url'
import fastifyStatic from '@fastify/static'
import type { FastifyInstance } from 'fastify'
import type { Guard } from './guard.js'

const root = fileURLToPath(new URL('../dashboard', import.meta.url))

const read = (name: string) => (existsSync(join(root, name)) ? readFileSync(join(root, name), 'utf8') : '')

/** Returns the HTML of the pages. */
export const pageTexts = () => ['index.html', 'login.html'].map(read)

/** Serves the dashboard's own files, and the two libraries that they import, as the packages ship them. */
export async function pages(app: FastifyInstance, guard: Guard): Promise<void> {
  const require = createRequire(import.meta.url)
  const packageFile = (name: string, file: string) => join(dirname(require.resolve(`${name}/package.json`)), file)
  const vendor: Readonly<Record<string, string>> = {
    'mqtt.js': packageFile('mqtt', 'dist/mqtt.esm.js'),
    'uplot.js': packageFile('uplot', 'dist/uPlot.esm.js'),
    'uplot.css': packageFile('uplot', 'dist/uPlot.min.css'),
    // Of the package only these files are used: none of its code runs in the hub.
    'swagger-ui.js': packageFile('@fastify/swagger-ui', 'static/swagger-ui-bundle.js'),
    'swagger-ui.css': packageFile('@fastify/swagger-ui', 'static/swagger-ui.css'),
  }
  const schema = { hide: true }
  await app.register(fastifyStatic, { root, index: false, cacheControl: true, maxAge: 0 })
  // Browsers do not keep pages: after a sign-out the back button shows none.
  app.get('/', { schema, config: { isPage: true } }, (_request, reply) =>
    reply.sendFile('index.html', { cacheControl: false }),
  )
  app.get('/api/docs', { schema, config: { isPage: true } }, (_request, reply) =>
    reply.sendFile('docs.html', { cacheControl: false }),
  )
  app.get('/login', { schema, config: { allow: 'anyone' } }, (_request, reply) =>
    guard.open ? reply.redirect('/') : reply.sendFile('login.html', { cacheControl: false }),
  )
  for (const [path, page] of [
    ['/index.html', '/'],
    ['/login.html', '/login'],
    ['/docs.html', '/api/docs'],
  ] as const) {
    app.get(path, { schema, config: { allow: 'anyone' } }, (_request, reply) => reply.redirect(page))
  }
  const open = filesOf('login.html')
  for (const name of open) {
    app.get(`/${name}`, { schema, config: { allow: 'anyone' } }, (_request, reply) => reply.sendFile(name))
  }
  for (const [name, path] of Object.entries(vendor)) {
    app.get(`/vendor/${name}`, { schema }, (_request, reply) => reply.sendFile(path, '/', { maxAge: '1d' }))
  }
}

/** Returns our own files that a page loads, and what those import in turn. */
function filesOf(page: string): ReadonlySet<string> {
  const found = new Set<string>()
  const follow = (from: string, addresses: Iterable<readonly string[]>) => {
    for (const [, address = ''] of addresses) {
      const name = posix.join('/', dirname(from), address).slice(1)
      if (found.has(name) || !/\.(js|css|svg)$/.test(name) || !existsSync(join(root, name))) continue
      found.add(name)
      if (name.endsWith('.js')) follow(name, read(name).matchAll(/\b(?:from|import)\s*\(?\s*'(\.[^']+)'/g))
    }
  }
  follow(page, read(page).matchAll(/\s(?:src|href)="([^":#]+)"/g))
  return found
}
