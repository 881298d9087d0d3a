import { duration, flag, integer, type SettingFields, type SettingKind, size } from '../config/settings.js'
import type { OutletKind } from './kind.js'

/** Longest time that one request may take: a target that never answers is noticed by then. */
const maxTimeoutMs = 300_000

const timeout: SettingKind<number> = {
  allowed: 'a time from 100ms to 5m',
  parse: given => {
    const ms = duration.parse(given)
    return ms !== undefined && ms >= 100 && ms <= maxTimeoutMs ? ms : undefined
  },
}

/** Requests to a web server, each with a batch of messages as JSON, signed as Standard Webhooks 1.0 says. */
export const webhookKind: OutletKind = {
  read: (fields: SettingFields) => {
    const url = fields.webAddress('url')
    const plan = {
      url,
      secret: fields.secret('secret', 'a text, or whsec_ and base64'),
      headers: fields.httpHeaders('headers'),
      batch: fields.value('batch', integer(1, 10_000), 500),
      batchBytes: fields.value('batchBytes', size(1_000), 1e6),
      timeoutMs: fields.value('timeout', timeout, 20_000),
      gzip: fields.value('gzip', flag, false),
    }
    return {
      shown: url ? new URL(url).origin : '',
      batch: plan.batch,
      restMs: fields.value('wait', waits, 250),
      open: async ({ name, hubId }) => {
        const { WebhookOutlet } = await import('./webhook-outlet.js')
        return new WebhookOutlet(plan, name, hubId)
      },
    }
  },
}

const waits: SettingKind<number> = {
  allowed: 'a time from 0s to 1m',
  parse: given => {
    const ms = duration.parse(given)
    return ms !== undefined && ms <= 60_000 ? ms : undefined
  },
}
