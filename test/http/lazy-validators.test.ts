import fastify, { type FastifyServerOptions } from 'fastify'
import t from 'tap'
import { lazyValidators } from '../../src/http/lazy-validators.js'

const schema = {
  params: { type: 'object', properties: { id: { type: 'integer' } } },
  querystring: {
    type: 'object',
    properties: { points: { type: 'integer', minimum: 1, default: 500 }, filter: { type: 'string' } },
    additionalProperties: false,
  },
  body: { type: 'object', required: ['topic'], properties: { topic: { type: 'string' } } },
}

const options: FastifyServerOptions = { ajv: { customOptions: { removeAdditional: false } } }

function app(more: FastifyServerOptions) {
  const made = fastify({ ...options, ...more })
  made.post('/things/:id', { schema }, async ({ params, query, body }) => ({ params, query, body }))
  return made
}

t.test('schemas that are compiled at the first request give the answers of those compiled at the start', async t => {
  const eager = app({})
  const lazy = app({ schemaController: { compilersFactory: { buildValidator: lazyValidators } } })
  t.teardown(async () => Promise.all([eager.close(), lazy.close()]))
  const requests = [
    ['/things/7?points=12', { topic: 'a/b' }, 200],
    ['/things/7', { topic: 5 }, 200],
    ['/things/x', { topic: 'a/b' }, 400],
    ['/things/7?points=0', { topic: 'a/b' }, 400],
    ['/things/7?point=3', { topic: 'a/b' }, 400],
    ['/things/7', {}, 400],
    // After mistakes, so that none of those before is left over.
    ['/things/8?filter=x', { topic: 'c' }, 200],
  ] as const
  for (const [url, payload, status] of requests) {
    const [expected, answer] = await Promise.all(
      [eager, lazy].map(one => one.inject({ method: 'POST', url, payload: payload as object })),
    )
    t.equal(answer?.statusCode, status, url)
    t.same(answer?.json(), expected?.json(), `${url}: the answer`)
  }
})

t.test('a schema is compiled when a request needs it, and once', async t => {
  const asked: string[] = []
  const counted = {
    type: 'object',
    get properties() {
      asked.push('read')
      return { id: { type: 'integer' } }
    },
  }
  const compile = lazyValidators({}, { customOptions: {} })
  // What Fastify hands over is a route with its schema, whatever the types of the compiler say.
  const validate = compile({ schema: counted, method: 'GET', url: '/', httpPart: 'params' } as never)
  t.same(asked, [])
  t.equal(validate({ id: 1 }), true)
  const reads = asked.length
  t.ok(reads > 0)
  t.equal(validate({ id: 'no' }), false)
  t.match(validate.errors, [{ instancePath: '/id' }])
  t.equal(asked.length, reads)
})
