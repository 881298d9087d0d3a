import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { gunzipSync } from 'node:zlib'
import { parseLineProtocol } from '../../src/store/line-protocol.js'
import { freePort } from './service.js'

/*
 * InfluxDB 2 and 3 as their documents say that they answer: paths, parameters, tokens, status codes, bodies. Points are
 * stored, and InfluxQL is answered, by a real InfluxDB 1.x behind them, whose InfluxQL 2.x has taken over. Neither is the
 * server itself.
 */

export const token = 'a-token-of-the-documents=='
export const org = 'plant & home'

export interface FrontServer {
  readonly url: string
  /** Method and path of each request. */
  readonly requests: readonly string[]
}

interface Asked {
  readonly method: string
  readonly path: string
  readonly query: URLSearchParams
  readonly body: string
  readonly authorization: string | undefined
}

type Answer = readonly [status: number, json?: unknown, headers?: Readonly<Record<string, string>>]

async function front(
  t: { teardown(end: () => unknown): void },
  answer: (asked: Asked) => Promise<Answer>,
): Promise<FrontServer> {
  const requests: string[] = []
  const handle = async (request: IncomingMessage, response: ServerResponse) => {
    const parts: Buffer[] = []
    for await (const part of request) parts.push(part as Buffer)
    const raw = Buffer.concat(parts)
    const body = (request.headers['content-encoding'] === 'gzip' ? gunzipSync(raw) : raw).toString()
    const { pathname: path, searchParams: query } = new URL(request.url ?? '/', 'http://x')
    const { method = '' } = request
    requests.push(`${method} ${path}`)
    const [status, json, headers = {}] = await answer({
      ...{ method, path, query, body },
      authorization: request.headers.authorization,
    })
    response.writeHead(status, { ...(json !== undefined && { 'content-type': 'application/json' }), ...headers })
    response.end(json === undefined ? undefined : JSON.stringify(json))
  }
  const server = createServer((request, response) => {
    handle(request, response).catch(error => response.writeHead(500).end(JSON.stringify({ message: String(error) })))
  })
  const port = await freePort()
  await new Promise<void>(resolve => server.listen(port, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    return new Promise(resolve => server.close(resolve))
  })
  return { url: `http://127.0.0.1:${port}`, requests }
}

async function post(target: string, path: string, body: string | URLSearchParams) {
  const response = await fetch(target + path, { method: 'POST', body })
  return { status: response.status, body: await response.text() }
}

const words = (body: string) => (JSON.parse(body) as { error?: string }).error ?? body

interface Bucket {
  readonly id: string
  readonly name: string
  retentionRules: { readonly type?: string; readonly everySeconds: number }[]
}

/** @param hasVirtualMappings False for a 2.0, which maps no bucket by itself. */
export function startInfluxTwo(
  t: { teardown(end: () => unknown): void },
  target: string,
  hasVirtualMappings = true,
): Promise<FrontServer> {
  const orgID = '0123456789abcdef'
  const buckets = new Map<string, Bucket>()
  const mappings: { database: string; retention_policy: string; default: boolean; bucketID: string }[] = []
  const missing = (what: string): Answer => [404, { code: 'not found', message: `${what} not found` }]
  return front(t, async ({ method, path, query, body, authorization }) => {
    const version = 'v2.7.12'
    if (path === '/ping') return [204, undefined, { 'x-influxdb-build': 'OSS', 'x-influxdb-version': version }]
    if (authorization !== `Token ${token}`) return [401, { code: 'unauthorized', message: 'unauthorized access' }]
    const asked = query.get('org')
    if (asked !== null && asked !== org) return missing(`organization name "${asked}"`)
    switch (`${method} ${path.replace(/(?<=buckets\/).*/, '')}`) {
      case 'GET /api/v2/orgs':
        return [200, { orgs: [{ id: orgID, name: org }] }]
      case 'GET /api/v2/buckets': {
        const bucket = buckets.get(query.get('name') ?? '')
        return [200, { buckets: bucket ? [{ ...bucket, orgID }] : [] }]
      }
      case 'POST /api/v2/buckets': {
        const { name, retentionRules, orgID: of } = JSON.parse(body) as Bucket & { orgID: string }
        if (of !== orgID) return [400, { code: 'invalid', message: 'invalid orgID' }]
        await post(target, '/query', new URLSearchParams({ q: `CREATE DATABASE "${name}"` }))
        buckets.set(name, { id: `b${buckets.size}`, name, retentionRules })
        return [201, { ...buckets.get(name), orgID }]
      }
      case 'PATCH /api/v2/buckets/': {
        const bucket = [...buckets.values()].find(({ id }) => path.endsWith(`/${id}`))
        if (!bucket) return missing('bucket')
        bucket.retentionRules = (JSON.parse(body) as Bucket).retentionRules.filter(rule => rule.everySeconds > 0)
        return [200, { ...bucket, orgID }]
      }
      case 'GET /api/v2/dbrps': {
        const bucketID = query.get('bucketID')
        const own = mappings.filter(one => one.bucketID === bucketID)
        const bucket = [...buckets.values()].find(({ id }) => id === bucketID)
        const made = {
          database: bucket?.name,
          retention_policy: 'autogen',
          default: true,
          virtual: true,
          bucketID,
          orgID,
        }
        return [200, { content: own.length > 0 || !hasVirtualMappings ? own : [made] }]
      }
      case 'POST /api/v2/dbrps':
        mappings.push(JSON.parse(body))
        return [201, JSON.parse(body)]
      case 'POST /api/v2/write': {
        const name = query.get('bucket') ?? ''
        if (!buckets.has(name)) return missing(`bucket "${name}"`)
        if (query.get('precision') !== 'us') return [400, { code: 'invalid', message: 'precision' }]
        const stored = await post(target, `/write?db=${encodeURIComponent(name)}&precision=u`, body)
        if (stored.status === 204) return [204]
        const said = words(stored.body)
        if (said.startsWith('partial write'))
          return [422, { code: 'unprocessable entity', message: `failure writing points to database: ${said}` }]
        return [stored.status, { code: 'invalid', message: said }]
      }
      case 'POST /query': {
        const form = new URLSearchParams(body)
        const [db, rp] = [form.get('db') ?? '', form.get('rp')]
        const isMapped = hasVirtualMappings ? buckets.has(db) : mappings.some(one => one.database === db)
        if (!isMapped || rp !== 'autogen') return missing('dbrp mapping')
        const answer = await post(target, '/query', form)
        return [answer.status, JSON.parse(answer.body)]
      }
      default:
        return missing('path')
    }
  })
}

/** The types of the columns of a table, by `table column`: InfluxDB 3 fixes them for ever. */
type ColumnTypes = Map<string, string>

export function startInfluxThree(t: { teardown(end: () => unknown): void }, target: string): Promise<FrontServer> {
  const databases = new Map<string, ColumnTypes>()
  return front(t, async ({ method, path, query, body, authorization }) => {
    if (authorization !== `Token ${token}` && authorization !== `Bearer ${token}`)
      return [401, { error: 'the request was not authenticated' }]
    const version = '3.8.0'
    const db = query.get('db') ?? ''
    switch (`${method} ${path}`) {
      case 'GET /ping':
        return [
          200,
          { version, revision: '0123abc', process_id: 'f0' },
          { 'x-influxdb-build': 'Core', 'x-influxdb-version': version },
        ]
      case 'POST /api/v3/write_lp': {
        if (query.get('precision') !== 'microsecond') return [400, { error: 'precision' }]
        if (!databases.has(db)) {
          await post(target, '/query', new URLSearchParams({ q: `CREATE DATABASE "${db}"` }))
          databases.set(db, new Map())
        }
        const columns = databases.get(db) as ColumnTypes
        const data: { original_line: string; line_number: number; error_message: string }[] = []
        const good: string[] = []
        for (const [i, line] of linesOf(body).entries()) {
          const fault = columnFault(line, columns)
          if (fault === undefined) good.push(line)
          else data.push({ original_line: line, line_number: i + 1, error_message: fault })
        }
        if (good.length > 0) {
          const stored = await post(target, `/write?db=${encodeURIComponent(db)}&precision=u`, good.join('\n'))
          if (stored.status !== 204) return [400, { error: words(stored.body) }]
        }
        return data.length > 0 ? [400, { error: 'partial write of line protocol occurred', data }] : [204]
      }
      case 'GET /query': {
        if (!databases.has(db)) return [404, { error: `database not found: ${db}` }]
        if (query.get('epoch') !== 'u') return [400, { error: 'epoch' }]
        const answer = await fetch(`${target}/query?${query}`)
        return [answer.status, await answer.json()]
      }
      default:
        return [404, { error: 'not found' }]
    }
  })
}

/** Returns the lines of a body; a text in quotes may hold line ends. */
function linesOf(body: string): string[] {
  const lines: string[] = []
  let open = ''
  for (const part of body.split('\n')) {
    const line = open === '' ? part : `${open}\n${part}`
    open = ''
    if (line === '') continue
    try {
      parseLineProtocol(line, 0, 'u')
      lines.push(line)
    } catch (error) {
      if (/closing quote/.test(String(error))) open = line
      else lines.push(line)
    }
  }
  return lines
}

/** Returns why a line cannot be stored in a table, in the words of InfluxDB 3; otherwise fixes the types of its columns. */
function columnFault(line: string, columns: ColumnTypes): string | undefined {
  const [point] = parseLineProtocol(line, 0, 'u')
  if (!point) return 'No fields were provided'
  const kind = { number: 'field::float', string: 'field::string', boolean: 'field::boolean' } as const
  const wanted = [
    ...point.tags.map(([name]) => [name, 'tag'] as const),
    ...point.fields.map(([name, value]) => [name, kind[typeof value as keyof typeof kind]] as const),
  ]
  for (const [name, type] of wanted) {
    const known = columns.get(`${point.measurement} ${name}`)
    if (known !== undefined && known !== type)
      return `invalid column type for column '${name}', expected iox::column_type::${known}, got iox::column_type::${type}`
  }
  for (const [name, type] of wanted) columns.set(`${point.measurement} ${name}`, type)
  return undefined
}
