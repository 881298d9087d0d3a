import { readFileSync } from 'node:fs'
import { networkInterfaces } from 'node:os'
import { adminKeyPath } from '../auth/admin-key.js'
import { isLoopback } from '../config/config.js'
import type { Asked, DeadLetterRow, JobProgress } from '../contract/contract.js'
import { HubError } from '../errors.js'
import { escaped, plain } from '../observe/log.js'
import { bytes, count, many, table, time } from '../runtime/terminal.js'
import { HubClient, type JobName } from './hub-client.js'
import { session, sessionHelp } from './session.js'

/*
 * Commands that call the HTTP API of a running hub: `telehub dead …`, `telehub spool …` and `telehub session …`. They
 * print for people, or with `--json` the answer of the API.
 */

export const adminHelp = `  telehub spool            segments, cursors and how far they are behind
  telehub spool replay     handle kept messages again, as under a new mapping: --from TIME [--to TIME] [--topic FILTER]
  telehub dead list        dead letters, the newest first [--reason R] [--device CLIENT] [--from T] [--to T] [--limit N]
  telehub dead show ID     one of them with its payload
  telehub dead replay      handle them again, after a fix: ID, or the filters of list, or --all
  telehub dead drop        take them out for good: likewise, and --yes
  telehub login list       who is signed in with a browser, since when and from where [--user NAME]
  telehub login end        sign out one login (ID), or all of a user (--user NAME)
  telehub ban list         addresses that are banned after too many failures, and until when
  telehub ban lift         end the ban of an address: ADDRESS
${sessionHelp}`

export const adminHint = `telehub spool, dead, session, login and ban ask the hub at --url (default: host and http.port of the settings); --json prints what it
answered. A hub that asks who they are is shown --key or TELEHUB_KEY, an admin's API key; else what the hub has written to
admin.key in data.dir. TIME is 2026-01-31T12:00:00Z, or 90m, 2h, 3d for so long ago.`

/** Flags of these commands beside those of the settings. */
export const adminFlags = {
  url: { type: 'string' },
  key: { type: 'string' },
  json: { type: 'boolean' },
  yes: { type: 'boolean' },
  all: { type: 'boolean' },
  reason: { type: 'string' },
  device: { type: 'string' },
  user: { type: 'string' },
  topic: { type: 'string' },
  from: { type: 'string' },
  to: { type: 'string' },
  limit: { type: 'string' },
  hash: { type: 'string' },
} as const

export type AdminFlags = { readonly [name in keyof typeof adminFlags]?: string | boolean | undefined }

export interface HubAddress {
  readonly url: string
  /** An API key, or the hub's own admin key. Undefined when no key is known. */
  readonly key: string | undefined
}

/**
 * Reads the key that a hub has written beside its data. Undefined when there is no key, or no right to read the file.
 * The key is sent to this machine only: another hub that received the key could use this hub.
 */
export function localKey(dir: string, url: string): string | undefined {
  if (!URL.canParse(url) || !isLocal(new URL(url).hostname.replace(/^\[|\]$/g, ''))) return undefined
  try {
    return readFileSync(adminKeyPath(dir), 'utf8').trim()
  } catch {
    return undefined
  }
}

/** Whether this host is this machine. */
function isLocal(host: string): boolean {
  if (isLoopback(host) || host === '0.0.0.0' || host === '::') return true
  return Object.values(networkInterfaces()).some(all => all?.some(({ address }) => address === host))
}

export interface AdminTerminal {
  readonly out: (text: string) => void
  /** Shows progress by overwriting the last progress line; silent where the output does not allow that. */
  readonly progress: (text: string) => void
  readonly now: () => number
}

/** Flags and argument of each command, beside `--url`, `--key` and `--json`. */
const commands: Readonly<Record<string, { readonly flags: readonly string[]; readonly id?: 'needed' | 'allowed' }>> = {
  spool: { flags: [] },
  'spool replay': { flags: ['from', 'to', 'topic'] },
  'dead list': { flags: ['reason', 'device', 'from', 'to', 'limit'] },
  'dead show': { flags: [], id: 'needed' },
  'dead replay': { flags: ['reason', 'device', 'from', 'to', 'all'], id: 'allowed' },
  'session list': { flags: ['device', 'user', 'limit'] },
  'session end': { flags: ['user'], id: 'needed' },
  'login list': { flags: ['user'] },
  'login end': { flags: ['user'], id: 'allowed' },
  'ban list': { flags: [] },
  'ban lift': { flags: [], id: 'needed' },
  'dead drop': { flags: ['reason', 'device', 'from', 'to', 'all', 'yes'], id: 'allowed' },
}

/** Throws an error with advice when a command is called wrongly. */
function check(words: readonly string[], flags: AdminFlags): void {
  const name = words.slice(0, 2).join(' ')
  const known = commands[name]
  if (!known) {
    const ways = Object.keys(commands).filter(one => one.startsWith(`${words[0]} `))
    throw usage(`telehub ${name}: given ${JSON.stringify(name)}, allowed are ${ways.join(', ')}`)
  }
  const [, , id, ...more] = words
  if (more.length > 0 || (id !== undefined && !known.id)) throw usage(`telehub ${name} takes no ${more[0] ?? id}`)
  if (known.id === 'needed' && !id) throw usage(`telehub ${name} needs an ID, as telehub ${words[0]} list shows them`)
  if (id === '') throw usage(`telehub ${name}: given an empty ID`)
  for (const [flag, value] of Object.entries(flags)) {
    if (!['url', 'key', 'json'].includes(flag) && !known.flags.includes(flag))
      throw usage(`telehub ${name} takes no --${flag}`)
    const isText = adminFlags[flag as keyof typeof adminFlags].type === 'string'
    if (isText && (typeof value !== 'string' || value === '' || value.startsWith('--'))) {
      throw usage(`--${flag}: given ${JSON.stringify(value)}, it needs a value`)
    }
  }
  if (
    flags.all &&
    (id !== undefined || Object.keys(flags).some(flag => ['reason', 'device', 'from', 'to'].includes(flag)))
  ) {
    throw usage('--all: given with an ID or a filter; it means every letter there is')
  }
}

/** Runs one of the commands. Resolves with the exit code: 1 when a replay did not finish. */
export async function admin(
  words: readonly string[],
  flags: AdminFlags,
  { url, key }: HubAddress,
  terminal: AdminTerminal,
): Promise<number> {
  check(words, flags)
  if (!URL.canParse(url) || !/^https?:/.test(url)) {
    throw usage(`--url: given ${JSON.stringify(url)}, allowed is an address such as http://127.0.0.1:8080`)
  }
  const hub = new HubClient(url, key)
  const [command, action, id = ''] = words
  if (command === 'spool') return action ? replayPast(hub, flags, terminal) : showSpool(hub, flags, terminal)
  if (command === 'session') return session(hub, action === 'end' ? id : undefined, flags, terminal)
  if (command === 'login')
    return action === 'end' ? endLogins(hub, id, flags, terminal) : listLogins(hub, flags, terminal)
  if (command === 'ban') return action === 'lift' ? liftBan(hub, id, flags, terminal) : listBans(hub, flags, terminal)
  if (action === 'list') return listDead(hub, flags, terminal)
  if (action === 'show') return showDead(hub, id, flags, terminal)
  return work(hub, action === 'drop' ? 'drop' : 'replay', id || undefined, flags, terminal)
}

async function listLogins(hub: HubClient, { user, json }: AdminFlags, { out }: AdminTerminal): Promise<number> {
  const answer = await hub.ask('GET /api/logins', {})
  const logins = answer.logins.filter(one => user === undefined || one.user === user)
  if (json) return print(out, { logins })
  const rows = logins.map(({ id, user, began, used, expires, address, agent }) =>
    [id, user, time(began), time(used), time(expires), address, agent].map(cell => plain(cell)),
  )
  out(rows.length > 0 ? table(['id', 'user', 'began', 'used', 'ends', 'from', 'browser'], rows) : 'no logins\n')
  return 0
}

async function endLogins(
  hub: HubClient,
  id: string,
  { user, json }: AdminFlags,
  { out }: AdminTerminal,
): Promise<number> {
  if ((id === '') === (user === undefined)) {
    throw usage('telehub login end needs an ID, as telehub login list shows them, or --user NAME for all of a user')
  }
  const answer = await hub.ask('POST /api/logins/end', id ? { id } : { user: String(user) })
  if (json) return print(out, answer)
  out(`${many(answer.ended, 'login')} ended\n`)
  return 0
}

async function listBans(hub: HubClient, { json }: AdminFlags, { out }: AdminTerminal): Promise<number> {
  const answer = await hub.ask('GET /api/bans', {})
  if (json) return print(out, answer)
  const rows = answer.bans.map(({ source, since, until, times }) => [
    plain(source),
    time(since),
    time(until),
    many(times, 'time'),
  ])
  out(rows.length > 0 ? table(['address', 'since', 'until', 'banned'], rows) : 'no bans\n')
  return 0
}

async function liftBan(hub: HubClient, source: string, { json }: AdminFlags, { out }: AdminTerminal): Promise<number> {
  const answer = await hub.ask('POST /api/bans/lift', { source })
  if (json) return print(out, answer)
  out(`the ban of ${plain(answer.lifted)} is lifted\n`)
  return 0
}

async function showSpool(hub: HubClient, { json }: AdminFlags, { out, now }: AdminTerminal): Promise<number> {
  const spool = await hub.ask('GET /api/spool', {})
  if (json) return print(out, spool)
  const percent = Math.round((100 * spool.bytes) / spool.limit)
  const kept = spool.keptBytes > 0 ? `, of that ${bytes(spool.keptBytes)} kept for replays` : ''
  out(`spool ${bytes(spool.bytes)} of ${bytes(spool.limit)} (${percent} %)${kept}\n\n`)
  const cursors = spool.cursors.map(({ name, sequence, lag, oldest }) => [
    name,
    count(sequence),
    count(lag),
    oldest === undefined ? 'at the end' : `since ${age(now() - oldest)}`,
  ])
  out(table(['cursor', 'next', 'messages behind', ''], cursors))
  const segments = spool.segments.map(({ segment, bytes: size, from, to, kept }) => [
    count(segment),
    bytes(size),
    from === undefined ? '' : time(from),
    to === undefined ? 'being written' : time(to),
    kept ? 'kept' : '',
  ])
  out(`\n${table(['segment', 'size', 'from', 'to', ''], segments)}`)
  return 0
}

async function replayPast(hub: HubClient, flags: AdminFlags, terminal: AdminTerminal): Promise<number> {
  const from = instant('from', flags.from, terminal)
  if (from === undefined) throw usage('telehub spool replay needs --from: from when on')
  const to = instant('to', flags.to, terminal)
  if (to !== undefined && to < from) throw usage('--to is before --from')
  return follow(hub, 'POST /api/spool/replay', { from, to, topic: text(flags.topic) }, 'rejected', flags, terminal)
}

async function listDead(hub: HubClient, flags: AdminFlags, terminal: AdminTerminal): Promise<number> {
  const { reason, device, limit = '100', json } = flags
  const answer = await hub.ask('GET /api/dead', {
    limit: Number(limit),
    reason: text(reason),
    device: text(device),
    from: instant('from', flags.from, terminal),
    to: instant('to', flags.to, terminal),
  })
  if (json) return print(terminal.out, answer)
  if (answer.dead.length === 0) {
    terminal.out('no dead letters\n')
    return 0
  }
  const rows = answer.dead.map(({ id, failedAt, reason, clientId, topic, detail }) => [
    plain(id),
    time(failedAt),
    plain(reason),
    plain(clientId),
    plain(topic),
    plain(detail),
  ])
  terminal.out(table(['id', 'when', 'reason', 'device', 'topic', 'detail'], rows))
  return 0
}

async function showDead(hub: HubClient, id: string, { json }: AdminFlags, { out }: AdminTerminal): Promise<number> {
  const letter = await find(hub, id)
  if (json) return print(out, letter)
  const payload = Buffer.from(letter.payload, 'base64')
  const text = payload.toString('utf8')
  const isText = Buffer.from(text).equals(payload)
  const rows: [string, string][] = [
    ['id', plain(letter.id)],
    ['reason', plain(letter.reason)],
    ['detail', plain(letter.detail)],
    ['failed at', `${time(letter.failedAt)}, tried ${many(letter.attempts, 'time')}`],
    ['topic', plain(letter.topic)],
    ['device', `${plain(letter.clientId)}${letter.user ? `, user ${plain(letter.user)}` : ''}`],
    ['QoS', `${letter.qos}${letter.retain ? ', retained' : ''}`],
    ['received at', `${time(letter.receivedAt)}, sequence ${letter.sequence}`],
    ...propertyRows(letter),
    ['payload', `${payload.length} bytes${isText ? '' : ', not text: in hexadecimal'}`],
  ]
  for (const [name, value] of rows) out(`${name.padEnd(12)} ${value}\n`)
  out(`\n${isText ? plain(text, true) : payload.toString('hex')}\n`)
  return 0
}

function propertyRows(letter: DeadLetterRow): [string, string][] {
  const { contentType, responseTopic, correlationData, userProperties = [], expiresAt } = letter
  const rows: [string, string][] = userProperties.map(([name, value]) => [
    'property',
    `${plain(name)}: ${plain(value)}`,
  ])
  if (contentType !== undefined) rows.push(['content type', plain(contentType)])
  if (responseTopic !== undefined) rows.push(['answer to', plain(responseTopic)])
  if (correlationData !== undefined) rows.push(['correlation', `${plain(correlationData)} (base64)`])
  if (expiresAt !== undefined) rows.push(['expires at', time(expiresAt)])
  return rows
}

async function find(hub: HubClient, id: string): Promise<DeadLetterRow> {
  const { dead } = await hub.ask('GET /api/dead', { id })
  if (dead[0]) return dead[0]
  throw new HubError('not_found', `there is no dead letter ${plain(id)}; telehub dead list shows those there are`)
}

async function work(
  hub: HubClient,
  action: 'replay' | 'drop',
  id: string | undefined,
  flags: AdminFlags,
  terminal: AdminTerminal,
): Promise<number> {
  const { reason, device, all, yes } = flags
  const filter = {
    id,
    reason: text(reason),
    device: text(device),
    from: instant('from', flags.from, terminal),
    to: instant('to', flags.to, terminal),
  }
  if (!all && Object.values(filter).every(value => value === undefined)) {
    throw usage(`telehub dead ${action} needs an ID, a filter (--reason, --device, --from, --to), or --all`)
  }
  if (action === 'drop' && !yes) throw usage('telehub dead drop takes letters out for good: say --yes')
  if (id !== undefined) await find(hub, id)
  const asked = all ? { all: true as const } : filter
  return follow(hub, `POST /api/dead/${action}`, asked, 'rejected again', flags, terminal)
}

/** Starts a job of the hub and shows the progress. */
async function follow<Name extends JobName>(
  hub: HubClient,
  name: Name,
  asked: Asked<Name>,
  kept: string,
  { json }: AdminFlags,
  { out, progress }: AdminTerminal,
): Promise<number> {
  let last: JobProgress | undefined
  try {
    for await (const report of hub.job(name, asked)) {
      last = report
      const { done, total } = report
      progress(total ? `${bar(done / total)} ${count(done)} of about ${count(total)}` : many(done, 'message'))
    }
  } catch (error) {
    if (error instanceof HubError) throw error
  } finally {
    progress('')
  }
  if (!last?.finished) throw new HubError('stopping', 'the hub went away before it was done; what was done stays done')
  if (json) return print(out, last) || (last.error ? 1 : 0)
  const parts = [
    many(last.done, 'message'),
    ...(last.stored > 0 ? [`${count(last.stored)} stored`] : []),
    ...(last.dropped > 0 ? [`${count(last.dropped)} dropped`] : []),
    ...(last.kept > 0 ? [`${count(last.kept)} ${kept}`] : []),
  ]
  out(`${parts.join(', ')}\n`)
  if (!last.error) return 0
  out(`it did not get to its end: ${plain(last.error)}\n`)
  return 1
}

const units: Readonly<Record<string, number>> = { s: 1e3, m: 6e4, h: 36e5, d: 864e5 }

/** Parses a time into milliseconds since the epoch. Undefined when the flag is not given. */
function instant(name: string, given: string | boolean | undefined, { now }: AdminTerminal): number | undefined {
  if (given === undefined) return undefined
  const text = String(given)
  const ago = /^(\d+(?:\.\d+)?)([smhd])$/.exec(text)
  // JavaScript takes other formats as local time, or as a time that was not meant.
  const isDate = /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d))?$/.test(text)
  const at = ago ? now() - Number(ago[1]) * (units[ago[2] as string] as number) : isDate ? Date.parse(text) : Number.NaN
  if (Number.isNaN(at)) {
    throw usage(`--${name}: given ${given}, allowed is a time such as 2026-01-31T12:00:00Z, or 90m, 2h, 3d ago`)
  }
  return at
}

/** Returns the text of a flag that has been checked. */
function text(flag: string | boolean | undefined): string | undefined {
  return typeof flag === 'string' ? flag : undefined
}

function usage(sentence: string): HubError {
  return new HubError('bad_settings', `${sentence}; telehub --help shows the use`)
}

function print(out: AdminTerminal['out'], answer: unknown): number {
  out(`${escaped(JSON.stringify(answer, undefined, 2))}\n`)
  return 0
}

function bar(share: number): string {
  const filled = Math.round(Math.min(1, share) * 30)
  return `[${'█'.repeat(filled)}${' '.repeat(30 - filled)}]`
}

function age(ms: number): string {
  const unit = (['d', 'h', 'm'] as const).find(name => ms >= (units[name] as number))
  return unit ? `${(ms / (units[unit] as number)).toFixed(1)} ${unit}` : `${Math.max(0, Math.round(ms / 1e3))} s`
}
