// A web server for the examples, on an origin of its own: node examples/serve.mjs [port]. Everything is read from disk.

import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { extname } from 'node:path'
import { fileURLToPath } from 'node:url'

const here = new URL('./', import.meta.url)
/** Libraries as the pages import them. Your own server has them from node_modules after npm install. */
const libraries = {
  '/client/': new URL('../dist/client/src/', here),
  '/mqtt/': new URL('../node_modules/mqtt/dist/', here),
  '/socket.io/': new URL('../node_modules/socket.io-client/dist/', here),
}
const types = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css' }

const server = createServer(async (request, response) => {
  const { pathname } = new URL(request.url ?? '/', 'http://localhost')
  const [prefix = '/', folder = here] = Object.entries(libraries).find(([prefix]) => pathname.startsWith(prefix)) ?? []
  const file = new URL(pathname.slice(prefix.length) + (pathname.endsWith('/') ? 'index.html' : ''), folder)
  const type = types[extname(file.pathname)]
  try {
    if (!type || !file.href.startsWith(folder.href)) throw new Error('not here')
    const body = await readFile(fileURLToPath(file))
    response.writeHead(200, { 'content-type': `${type}; charset=utf-8`, 'cache-control': 'no-cache' }).end(body)
  } catch {
    response.writeHead(404).end('not found')
  }
})

server.listen(Number(process.argv[2] ?? 3000), '127.0.0.1', () => {
  console.log(`http://127.0.0.1:${server.address().port}/plain-page/`)
})
