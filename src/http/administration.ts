import type { FastifyInstance } from 'fastify'
import { listSettings } from '../config/config.js'
import type { Answer } from '../contract/contract.js'
import { systemCode } from '../errors.js'
import type { AuditEvent } from '../observe/audit-chain.js'
import type { AuditLog } from '../observe/audit-log.js'
import { searchAudit } from '../observe/audit-search.js'
import type { LiveSettings } from '../observe/live-settings.js'
import type { ServedCertificate, Tls } from '../transport/tls.js'
import { serve } from './route.js'

export interface AdministrationOptions {
  readonly tls?: Tls | undefined
  readonly auditLog: Pick<AuditLog, 'dir'>
  readonly live: Pick<LiveSettings, 'current'>
}

type AuditRow = Answer<'GET /api/audit'>['lines'][number]

/** Most files of the audit log that one question reads, of at most 8 MB each. */
const filesPerQuestion = 2

/** Routes that show administrators settings, certificate and audit log. */
export async function administrationRoutes(
  app: FastifyInstance,
  { tls, auditLog, live }: AdministrationOptions,
): Promise<void> {
  serve(app, 'GET /api/settings', () => ({ settings: listSettings(live.current) }))

  serve(app, 'GET /api/certificate', () => {
    if (!tls) return {}
    const { certificate, authority } = tls.served
    const warning = tls.warning()
    const required = live.current['tls.clients'] === 'required'
    return {
      certificate,
      ...(authority && { authority: told(authority) }),
      ...(tls.asksClients && { clients: { file: tls.clientAuthorities, required } }),
      ...(warning !== undefined && { warning }),
    }
  })

  serve(app, 'GET /api/audit', async asked => {
    try {
      const { lines, next } = await searchAudit(auditLog.dir, { ...asked, files: filesPerQuestion })
      return { lines: lines.map(({ n, text, line }) => rowOf(n, text, line)), ...(next !== undefined && { next }) }
    } catch (error) {
      // Nothing has been written yet.
      if (systemCode(error) === 'ENOENT') return { lines: [] }
      throw error
    }
  })
}

function told({ file, subject, to, fingerprint, pem }: NonNullable<ServedCertificate['authority']>) {
  return { file, subject, to, fingerprint, pem }
}

/** Returns a line as the contract has it; one that is damaged, as a text. */
function rowOf(n: number, text: string, line: (AuditEvent & { readonly at: string }) | undefined): AuditRow {
  if (!line) return { n, at: '', event: 'audit', result: 'damaged', detail: text.slice(0, 1_000) }
  const { at, event, result, reason, user, address, via, client, what, detail, count, since } = line
  const more = { reason, user, address, via, client, what, detail, count, since }
  return {
    n,
    at,
    event,
    result,
    ...Object.fromEntries(Object.entries(more).filter(([, value]) => value !== undefined)),
  }
}
