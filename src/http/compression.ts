import { promisify } from 'node:util'
import { brotliCompress, constants, gzip } from 'node:zlib'
import type { FastifyReply, FastifyRequest } from 'fastify'

/** Content codings in which answers are sent, the better first (RFC 9110 §8.4.1, RFC 7932). */
export type Coding = 'br' | 'gzip'

const codings: readonly Coding[] = ['br', 'gzip']

/** Answers below this size fit a packet or two as they are. */
const leastBytes = 1_024

/** Compressions of answers at a time. Two of the four threads of Node's pool are left to the disk. */
const atOnce = 2

const brotli = promisify(brotliCompress)
const zip = promisify(gzip)

/** Returns the best coding that a caller accepts (RFC 9110 §12.5.3). Undefined: none. */
export function codingFor(accepted: string | undefined): Coding | undefined {
  const wanted = new Map<string, boolean>()
  for (const one of (accepted ?? '').toLowerCase().split(',')) {
    const [name = '', ...parameters] = one.split(';').map(part => part.trim())
    wanted.set(name, !parameters.some(parameter => /^q=0(\.0*)?$/.test(parameter)))
  }
  return codings.find(coding => wanted.get(coding) ?? (wanted.get('*') === true && coding === 'gzip'))
}

/** Compresses. `quality` is that of Brotli; gzip is as slow at one more. */
export async function compress(bytes: Buffer, coding: Coding, quality: number): Promise<Buffer> {
  if (coding === 'gzip') return zip(bytes, { level: Math.min(9, quality + 1) })
  const params = {
    [constants.BROTLI_PARAM_QUALITY]: quality,
    [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length,
  }
  return brotli(bytes, { params })
}

/** Compresses the answers of the API. Streams, which a handler writes by itself, do not come here. */
export class Compression {
  #running = 0

  /** The `onSend` hook: returns the body to send. */
  async answer(request: FastifyRequest, reply: FastifyReply, body: unknown): Promise<unknown> {
    const isText = typeof body === 'string'
    if ((!isText && !Buffer.isBuffer(body)) || body.length < leastBytes || request.method === 'HEAD') return body
    if (reply.hasHeader('content-encoding') || !isCompressible(reply.getHeader('content-type'))) return body
    const vary = reply.getHeader('vary')
    reply.header('vary', vary ? `${vary}, Accept-Encoding` : 'Accept-Encoding')
    const coding = codingFor(request.headers['accept-encoding'])
    // Under load an answer goes as it is.
    if (!coding || this.#running >= atOnce) return body
    this.#running++
    try {
      const compressed = await compress(isText ? Buffer.from(body) : body, coding, 4)
      reply.header('content-encoding', coding)
      return compressed
    } finally {
      this.#running--
    }
  }
}

function isCompressible(type: unknown): boolean {
  return typeof type === 'string' && /^(application\/json|text\/)/.test(type)
}
