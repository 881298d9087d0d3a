import { array, boolean, closed, integer, number, object, optional, string, withDefault } from './schema.js'

/* Settings, certificate and audit log, for administrators to look at. These routes change nothing. */

const auditLine = object({
  n: integer('Number of the line'),
  at: string('ISO 8601'),
  event: string(),
  result: string(),
  reason: optional(string()),
  user: optional(string('Who acted, or the name that was tried')),
  address: optional(string()),
  via: optional(string()),
  client: optional(string()),
  what: optional(string()),
  detail: optional(string()),
  count: optional(integer('So many events, of which this line is the sum')),
  since: optional(string('ISO 8601')),
})

/** The declarations of the routes for administrators. */
export const administration = {
  'GET /api/settings': {
    summary: 'The settings in effect, with where each comes from; passwords are masked',
    allow: 'change',
    answer: object({
      settings: array(
        object({
          key: string(),
          value: string('As it is written in the file; empty: none'),
          fallback: string('The default'),
          source: string('`default`, or the file, the variable or the flag that gives it'),
          variable: string('Name in the environment'),
          help: string(),
          allowed: string(),
          atOnce: boolean('Whether a change of the file acts without a restart (SIGHUP)'),
        }),
      ),
    }),
  },
  'GET /api/certificate': {
    summary: 'The certificate that this hub shows (tls.cert), until when it is valid, and who has signed it',
    allow: 'change',
    answer: object({
      certificate: optional(
        object({
          file: string(),
          subject: string(),
          issuer: string(),
          names: array(string(), 'Host names and addresses that it is for'),
          from: number(),
          to: number(),
          fingerprint: string('SHA-256'),
          selfSigned: boolean(),
        }),
      ),
      authority: optional(
        object(
          { file: string(), subject: string(), to: number(), fingerprint: string('SHA-256'), pem: string() },
          'The ca.pem beside the certificate, when it has signed it: what devices must trust',
        ),
      ),
      clients: optional(object({ file: string(), required: boolean() }, 'Clients are asked for certificates (tls.ca)')),
      warning: optional(string()),
    }),
  },
  'GET /api/audit': {
    summary: 'Lines of the audit log, the newest first',
    description:
      'An answer may have fewer lines than there are, also none, and a `next`: the hub reads a part of the log at a time.',
    allow: 'change',
    query: closed({
      user: optional(string('Who acted', { maxLength: 200 })),
      event: optional(string('Such as login, refused or change', { maxLength: 20 })),
      text: optional(string('Text anywhere in the line', { maxLength: 200 })),
      from: optional(number('Included')),
      to: optional(number('Not included')),
      before: optional(integer('The `next` of the answer before: lines with lower numbers', { minimum: 1 })),
      limit: withDefault(integer(undefined, { minimum: 1, maximum: 1_000 }), 100),
    }),
    answer: object({ lines: array(auditLine), next: optional(integer('Not there: all was read')) }),
  },
} as const
