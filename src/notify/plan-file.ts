import { readFileSync, statSync } from 'node:fs'
import { basename } from 'node:path'
import { parse } from 'yaml'
import type { AlertState, Severity } from '../alerts/transition.js'
import { severities } from '../alerts/transition.js'
import {
  duration,
  type Environment,
  FieldsReading,
  flag,
  integer,
  isTimeZone,
  oneOf,
  SettingFields,
  type SettingKind,
} from '../config/settings.js'
import { describe, HubError, systemCode } from '../errors.js'
import { allowedWeekSpans, parseWeekSpan } from '../runtime/week-time.js'
import { isTopicName } from '../topics.js'
import {
  type EmailTargetPlan,
  type EscalationStep,
  type MqttTargetPlan,
  type NotifyPlan,
  type NotifyRoute,
  type PushTargetPlan,
  type TargetPlan,
  usualPlan,
  usualRate,
  type WebhookTargetPlan,
} from './plan.js'
import { escapeFor, fill, type TemplateValues, unknownVariables, variables } from './template.js'

const maxBytes = 1_000_000
const maxTargets = 100
const maxRoutes = 100
const maxFaults = 50
const name = /^[a-zA-Z][\w-]{0,63}$/
const mailbox = /^(?:[^<>\r\n"]{0,100} )?<?[^\s<>@,;:"\\]+@[^\s<>@,;:"\\]+>?$/
const userName = /^[^\s,]{1,64}$/
const states = ['firing', 'acknowledged', 'cleared'] as const satisfies readonly AlertState[]
const types = ['web-push', 'email', 'webhook', 'mqtt'] as const

/**
 * Reads the file of targets and routes. Throws a `bad_settings` with all mistakes, a line each; none of them shows a
 * secret.
 *
 * @param zone Time zone of routes when the file names none.
 */
export function readPlan(path: string, environment: Environment, zone: string): NotifyPlan {
  let text: string
  try {
    const stats = statSync(path)
    if (!stats.isFile()) throw new Error('it is no file')
    if (stats.size > maxBytes) throw new Error(`it is larger than ${maxBytes} bytes`)
    if ((stats.mode & 0o077) !== 0) {
      throw new Error(`other users of this machine may read it, and it holds secrets; chmod 600 ${path} prevents that`)
    }
    text = readFileSync(path, 'utf8')
  } catch (error) {
    const why = systemCode(error) === 'ENOENT' ? `there is no file ${path}` : `${path}: ${describe(error)}`
    throw new HubError('bad_settings', why)
  }
  const read = parsePlan(text, environment, zone)
  if (!('faults' in read)) return read
  const more = read.faults.length - maxFaults
  const faults = read.faults.slice(0, maxFaults).map(fault => `${basename(path)}: ${fault}`)
  throw new HubError('bad_settings', [...faults, ...(more > 0 ? [`and ${more} more mistakes`] : [])].join('\n'))
}

/** Reads the text of a file. Returns the plan, or all mistakes. */
export function parsePlan(
  text: string,
  environment: Environment,
  zone: string,
): NotifyPlan | { readonly faults: readonly string[] } {
  const reading = new FieldsReading(environment)
  let document: unknown
  try {
    document = parse(text, { logLevel: 'error', prettyErrors: false, maxAliasCount: 100 })
  } catch (error) {
    // Only the kind of mistake: the rest of the sentence may quote a line with a secret.
    const { code, pos } = error as { readonly code?: string; readonly pos?: readonly number[] }
    const line = text.slice(0, pos?.[0] ?? 0).split('\n').length
    return { faults: [`line ${line} is not valid YAML (${code ?? 'error'})`] }
  }
  const root = new SettingFields(document ?? {}, '', reading)
  const url = root.text('url', 'the address of the dashboard such as https://hub.example.org', httpUrl, false)
  const contact = root.text(
    'contact',
    'mailto:you@example.org or https://…',
    /^(?:mailto:[^\s@]+@[^\s@]+|https:\/\/\S+)$/,
    false,
  )
  const ownZone = root.value('timeZone', zoneKind, zone)
  const targets = new Map(readTargets(root).map(target => [target.name, target]))
  const routes = readRoutes(root, targets)
  root.end()
  if (reading.faults.length > 0) return { faults: reading.faults }
  const usual = usualPlan(zone)
  const address = url.replace(/\/+$/, '')
  return {
    url: address,
    contact: contact || (address.startsWith('https:') ? address : usual.contact),
    zone: ownZone,
    targets,
    routes,
    secrets: [...reading.secrets].filter(secret => secret.length > 0),
  }
}

const httpUrl = /^https?:\/\/[^\s/@?#]+(?:\/[^\s?#]*)?$/

const zoneKind: SettingKind<string> = {
  allowed: 'a time zone such as Europe/Berlin or UTC',
  parse: given => (typeof given === 'string' && isTimeZone(given) ? given : undefined),
}

function readTargets(root: SettingFields): readonly TargetPlan[] {
  const fields = new SettingFields(root.raw('targets') ?? {}, 'targets', root.reading)
  if (fields.names.length > maxTargets) {
    root.fault('targets', `given ${fields.names.length}, allowed are ${maxTargets}`)
    return []
  }
  return fields.names.flatMap(key => {
    const target = new SettingFields(fields.raw(key), fields.placeOf(key), root.reading)
    if (!name.test(key)) fields.fault(key, 'a name has letters, digits, - and _, and begins with a letter')
    if (!target.isMap) return []
    const type = target.text('type', `one of ${types.join(', ')}`, new RegExp(`^(?:${types.join('|')})$`))
    const rate = target.value('rate', integer(1, 6_000), type === 'mqtt' ? 6_000 : usualRate)
    const read = readers[type as TargetPlan['type']]?.({ name: key, rate }, target)
    if (read) target.end()
    return read ? [read] : []
  })
}

type Begun = Pick<TargetPlan, 'name' | 'rate'>

const readers = {
  'web-push': (begun: Begun, fields: SettingFields): PushTargetPlan => ({
    ...begun,
    type: 'web-push',
    users: fields.list('users', 'a list of users', userName, false),
    private: fields.value('private', flag, false),
  }),
  email: readEmail,
  webhook: readWebhook,
  mqtt: readMqtt,
}

function readEmail(begun: Begun, fields: SettingFields): EmailTargetPlan {
  const security = fields.value('security', oneOf('tls', 'starttls', 'none'), 'starttls')
  const user = fields.secret('user', 'a name')
  const password = fields.secret('password', 'a text')
  if ((user === '') !== (password === '')) fields.fault('user', 'user and password need each other')
  return {
    ...begun,
    type: 'email',
    host: fields.text('host', 'the name of a mail server', /^[\w.:-]+$/),
    port: fields.value('port', integer(1, 65_535), security === 'tls' ? 465 : 587),
    security,
    user,
    password,
    from: fields.text('from', 'a mail address such as hub@example.org', mailbox),
    to: fields.list('to', 'a list of mail addresses', mailbox),
  }
}

const usualBody = '{{json}}'

function readWebhook(begun: Begun, fields: SettingFields): WebhookTargetPlan {
  const url = fields.webAddress('url')
  const contentType = fields.text(
    'contentType',
    'a media type',
    /^[\w!#$&^.+-]+\/[\w!#$&^.+-]+(?:; ?[\w-]+=[\w-]+)*$/,
    false,
  )
  const type = contentType || 'application/json'
  return {
    ...begun,
    type: 'webhook',
    url,
    method: fields.value('method', oneOf('POST', 'PUT'), 'POST'),
    secret: fields.secret('secret', 'a text'),
    headers: fields.httpHeaders('headers'),
    contentType: type,
    body: readTemplate(fields, type),
  }
}

function readMqtt(begun: Begun, fields: SettingFields): MqttTargetPlan {
  const topic = fields.text('topic', 'a topic without + and #, not below $', /^[^$+#\0][^+#\0]*$/)
  if (topic !== '' && !isTopicName(topic)) fields.fault('topic', 'this is no topic')
  return {
    ...begun,
    type: 'mqtt',
    topic,
    qos: fields.value('qos', integer(0, 2), 1) as 0 | 1 | 2,
    retain: fields.value('retain', flag, false),
    body: readTemplate(fields, 'application/json'),
  }
}

/** A value for each variable, with all characters that need escaping. */
const trial = Object.fromEntries(
  variables.map(one => [one, one === 'json' ? '{}' : one === 'priority' ? '3' : one === 'count' ? '1' : '"\\\n{{id}}']),
) as TemplateValues

function readTemplate(fields: SettingFields, mediaType: string): string {
  const body = fields.text('body', 'a text with variables such as {{title}}', /^[^\0]+$/, false) || usualBody
  for (const unknown of unknownVariables(body)) {
    fields.fault('body', `there is no {{${unknown.slice(0, 50)}}}, allowed are ${variables.join(', ')}`)
  }
  if (!/\bjson\b/i.test(mediaType)) return body
  try {
    JSON.parse(fill(body, trial, escapeFor(mediaType)))
  } catch {
    fields.fault('body', 'filled in, this is not valid JSON; texts need quotes around them: "text": "{{text}}"')
  }
  return body
}

function readRoutes(root: SettingFields, targets: ReadonlyMap<string, TargetPlan>): readonly NotifyRoute[] {
  const given = root.raw('routes') ?? []
  if (!Array.isArray(given) || given.length > maxRoutes) {
    root.fault('routes', `allowed is a list of at most ${maxRoutes} routes`)
    return []
  }
  return given.flatMap((one, i) => {
    const fields = new SettingFields(one, `routes.${i + 1}`, root.reading)
    return fields.isMap ? [readRoute(fields, targets)] : []
  })
}

function readRoute(fields: SettingFields, targets: ReadonlyMap<string, TargetPlan>): NotifyRoute {
  const words = <Word extends string>(field: string, all: readonly Word[], usual: readonly Word[]) => {
    const allowed = `one or more of ${all.join(', ')}`
    const found = fields.list(field, allowed, new RegExp(`^(?:${all.join('|')})$`), false)
    return found.length > 0 ? (found as readonly Word[]) : usual
  }
  const when = fields.raw('when')
  const spans = (when === undefined ? [] : Array.isArray(when) ? when : [when]).flatMap(text => {
    const span = typeof text === 'string' ? parseWeekSpan(text) : undefined
    if (!span) fields.fault('when', `given ${JSON.stringify(text)?.slice(0, 100)}, allowed are ${allowedWeekSpans}`)
    return span ? [span] : []
  })
  const route = {
    severities: words<Severity>('severity', severities, severities),
    states: words<AlertState>('states', states, ['firing', 'cleared']),
    when: spans,
    targets: readNames(fields, 'targets', targets),
    group: fields.value('group', atMost(3_600_000), 5_000),
    escalate: readSteps(fields, targets),
  }
  fields.end()
  return route
}

function readSteps(fields: SettingFields, targets: ReadonlyMap<string, TargetPlan>): readonly EscalationStep[] {
  const given = fields.raw('escalate')
  if (given === undefined) return []
  const steps = (Array.isArray(given) ? given : [given]).slice(0, 10).map((one, i) => {
    const step = new SettingFields(one, `${fields.placeOf('escalate')}.${i + 1}`, fields.reading)
    const read = { after: step.value('after', atMost(7 * 864e5), 900_000), to: readNames(step, 'to', targets) }
    step.end()
    return read
  })
  return steps.sort((a, b) => a.after - b.after)
}

function readNames(fields: SettingFields, field: string, targets: ReadonlyMap<string, TargetPlan>): readonly string[] {
  const names = fields.list(field, `names of targets: ${[...targets.keys()].join(', ')}`, /./)
  return [...new Set(names)].filter(one => {
    if (targets.has(one)) return true
    fields.fault(
      field,
      `there is no target ${one.slice(0, 64)}, allowed are ${[...targets.keys()].join(', ') || 'none yet'}`,
    )
    return false
  })
}

function atMost(most: number): SettingKind<number> {
  return {
    allowed: `${duration.allowed}, at most ${most / 60_000}m`,
    parse: given => {
      const ms = duration.parse(given)
      return ms !== undefined && ms <= most ? ms : undefined
    },
  }
}
