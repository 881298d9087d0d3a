import { readFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { basename } from 'node:path'
import { explain } from '../auth/explain.js'
import { hashPassword, hashSecret, isSecretHash, makeSecret } from '../auth/passwords.js'
import { type AccessRule, overlap, parseRule, quote, ruleText, verbs } from '../auth/rules.js'
import { iterations, makeScram, preparePassword, scramMethod } from '../auth/scram.js'
import {
  clientPatternFault,
  kinds,
  makeKey,
  makePairing,
  type RuleKind,
  readUsers,
  type User,
  type Users,
  userNameFault,
  usualRules,
} from '../auth/users.js'
import { editUsers } from '../auth/users-file.js'
import { describe, HubError } from '../errors.js'
import { plain } from '../observe/log.js'
import { askHidden, count, firstLine, many, table, time } from '../runtime/terminal.js'

/*
 * Commands that read and change the users file: `telehub user …`, `telehub device pair` and `telehub explain`. They
 * need no running hub; a hub that uses the file picks up changes within a second or two.
 */

export const userHelp = `  telehub user add NAME    a user of --kind device (default), dashboard, service or admin [--allow "publish F"]…
                           [--deny "read F"]… [--client PATTERN]… [--certificate NAME]… [--password-file FILE | --generate] [--scram]
  telehub user passwd NAME another password [--password-file FILE | --generate] [--scram]
  telehub user remove NAME the user and its keys [--yes]
  telehub user list        all of them; show NAME: one with its rules
  telehub user grant NAME VERB FILTER    a rule more [--deny]; VERB is ${verbs.join(', ')}
  telehub user revoke NAME VERB FILTER   a rule less [--deny]
  telehub user key add NAME              an API key [--label L]; key list NAME; key remove NAME ID
  telehub device pair NAME a code that a device turns into its own credentials [--allow "publish F"]… [--client PATTERN]…
  telehub explain          may --user U, as --client C, --publish T | --subscribe F | --read T? With the line that decides`

const shortest = 8
const longest = 1_000

export const userHint = `telehub user and telehub device change the file of auth.file, and a hub that uses it acts within a second or two. A
password has ${shortest} to ${count(longest)} characters; it is asked for on a terminal, or is the first line of a pipe or of --password-file, or
is made by --generate. With --scram it is good for ${scramMethod} of MQTT 5, too, for which a client counts ${count(iterations)} hashes at
each connection. F is a topic filter, in which {user} and {client} stand for the names.`

type FlagType = { readonly type: 'string'; readonly multiple?: boolean } | { readonly type: 'boolean' }

const flagTypes: Readonly<Record<string, FlagType>> = {
  kind: { type: 'string' },
  allow: { type: 'string', multiple: true },
  deny: { type: 'string', multiple: true },
  client: { type: 'string', multiple: true },
  certificate: { type: 'string', multiple: true },
  'password-file': { type: 'string' },
  generate: { type: 'boolean' },
  scram: { type: 'boolean' },
  label: { type: 'string' },
  user: { type: 'string' },
  publish: { type: 'string' },
  subscribe: { type: 'string' },
  read: { type: 'string' },
  yes: { type: 'boolean' },
  json: { type: 'boolean' },
}

/**
 * Flags of these commands beside the settings. For `user grant` and `revoke`, `--deny` alone marks the rule as a
 * denial.
 */
export function userFlags(words: readonly string[]): Readonly<Record<string, FlagType>> {
  const isRule = words[0] === 'user' && (words[1] === 'grant' || words[1] === 'revoke')
  return isRule ? { ...flagTypes, deny: { type: 'boolean' } } : flagTypes
}

export function isUserCommand(command: string): boolean {
  return command === 'user' || command === 'device' || command === 'explain'
}

/** Flags as parseArgs returns them: a flag without a value is true. */
export type UserFlags = Readonly<Record<string, string | boolean | readonly (string | boolean)[] | undefined>>

export interface UserPlace {
  readonly file: string
  /** Whether the settings name the file. Otherwise `file` is the default path. */
  readonly isNamed: boolean
  readonly settingsFile: string
  readonly url: string
  /** The setting limits.wildcards. */
  readonly wildcards: number
}

export interface UserTerminal {
  readonly out: (text: string) => void
  readonly now: () => number
  /** Whether the command can ask the operator on a terminal. */
  readonly asks: boolean
}

interface Call {
  readonly given: readonly string[]
  readonly flags: UserFlags
  readonly place: UserPlace
  readonly terminal: UserTerminal
}

interface Command {
  readonly takes: readonly string[]
  readonly flags: readonly string[]
  run(call: Call): Promise<number> | number
}

const credentials = ['password-file', 'generate', 'scram']

const commands: Readonly<Record<string, Command>> = {
  'user add': {
    takes: ['NAME'],
    flags: ['kind', 'allow', 'deny', 'client', 'certificate', ...credentials],
    run: addUser,
  },
  'user passwd': { takes: ['NAME'], flags: credentials, run: setPassword },
  'user remove': { takes: ['NAME'], flags: ['yes'], run: removeUser },
  'user list': { takes: [], flags: ['json'], run: listUsers },
  'user show': { takes: ['NAME'], flags: ['json'], run: showUser },
  'user grant': { takes: ['NAME', 'VERB', 'FILTER'], flags: ['deny'], run: grant },
  'user revoke': { takes: ['NAME', 'VERB', 'FILTER'], flags: ['deny'], run: revoke },
  'user key add': { takes: ['NAME'], flags: ['label'], run: addKey },
  'user key remove': { takes: ['NAME', 'ID'], flags: [], run: removeKey },
  'user key list': { takes: ['NAME'], flags: ['json'], run: listKeys },
  'device pair': { takes: ['NAME'], flags: ['allow', 'deny', 'client'], run: pair },
  explain: { takes: [], flags: ['user', 'client', 'publish', 'subscribe', 'read'], run: explainRules },
}

/** Runs one of the commands. Resolves with the exit code. */
export async function userAdmin(
  words: readonly string[],
  flags: UserFlags,
  place: UserPlace,
  terminal: UserTerminal,
): Promise<number> {
  const name = Object.keys(commands).find(one => one === words.slice(0, one.split(' ').length).join(' '))
  if (!name) {
    const ways = Object.keys(commands).filter(one => one.startsWith(`${words[0]} `))
    throw usage(`given ${quote(words.join(' '))}, allowed are ${ways.join(', ')}`)
  }
  const command = commands[name] as Command
  const given = words.slice(name.split(' ').length)
  const missing = command.takes.slice(given.length)
  if (missing.length > 0) throw usage(`telehub ${name} needs ${missing.join(' ')}`)
  const more = given[command.takes.length]
  if (more !== undefined) throw usage(`telehub ${name} takes no ${quote(more)}`)
  for (const [flag, value] of Object.entries(flags)) {
    if (!command.flags.includes(flag)) throw usage(`telehub ${name} takes no --${flag}`)
    for (const one of [value].flat()) {
      const isText = typeof one === 'string' && one !== '' && !one.startsWith('--')
      if (userFlags(words)[flag]?.type === 'string' && !isText) {
        throw usage(`--${flag}: given ${typeof one === 'string' ? quote(one) : 'nothing'}, it needs a value`)
      }
    }
  }
  const at = command.takes.indexOf('NAME')
  const fault = at >= 0 ? userNameFault(given[at] as string) : undefined
  if (fault) throw usage(`NAME: ${fault}`)
  return command.run({ given, flags, place, terminal })
}

async function addUser({ given: [name = ''], flags, place, terminal }: Call): Promise<number> {
  const kind = kindOf(flags.kind)
  const rules = rulesOf(flags, kind)
  const clients = texts(flags, 'client', clientPatternFault)
  const certificates = texts(flags, 'certificate', () => undefined)
  if (readUsers(place.file).users.has(name)) {
    throw new HubError(
      'bad_request',
      `there is a user ${name} in ${shown(place)} already; telehub user show ${name} shows it`,
    )
  }
  // The operator is not asked for a password that the user does not need.
  const needsNone = (name === 'anonymous' || certificates.length > 0) && !credentials.some(flag => flags[flag])
  const { hash, scram, made } = needsNone
    ? { hash: '', scram: '', made: undefined }
    : await passwordOf(name, flags, terminal)
  await editUsers(place.file, file => file.addUser({ name, kind, password: hash, scram, clients, certificates, rules }))
  const { out } = terminal
  out(`${name} is now ${article(kind)} in ${shown(place)}. It may:\n`)
  for (const rule of rules) out(`  ${plain(rule)}\n`)
  if (clients.length > 0) out(`as one of the clients ${plain(clients.join(', '))}\n`)
  if (made) out(`password, shown this once: ${made}\n`)
  if (scram) out(`it is good for ${scramMethod}, too\n`)
  if (certificates.length > 0) out(`a certificate of ${plain([name, ...certificates].join(', '))} lets it in\n`)
  else if (needsNone) out('who gives no name is this user, when auth.anonymous is true\n')
  return done(place, out)
}

async function setPassword({ given: [name = ''], flags, place, terminal }: Call): Promise<number> {
  const before = userOf(readUsers(place.file), name, place)
  const { hash, scram, made } = await passwordOf(name, flags, terminal)
  await editUsers(place.file, file => file.setPassword(name, hash, scram))
  terminal.out(`${name} has another password. Whoever is connected with the old one is sent away.\n`)
  if (made) terminal.out(`password, shown this once: ${made}\n`)
  if (scram) terminal.out(`it is good for ${scramMethod}, too\n`)
  else if (before.scram) terminal.out(`${scramMethod} lets it in no more: that needs --scram\n`)
  return done(place, terminal.out)
}

async function removeUser({ given: [name = ''], flags, place, terminal }: Call): Promise<number> {
  const { keys } = userOf(readUsers(place.file), name, place)
  if (!flags.yes) {
    if (!terminal.asks) throw usage(`telehub user remove takes ${name} out for good: say --yes`)
    process.stderr.write(`Remove ${name} and its ${many(keys.length, 'key')} for good? [y/N] `)
    if (!/^y(es)?$/i.test((await firstLine()).trim())) throw new HubError('bad_request', 'nothing was changed')
  }
  await editUsers(place.file, file => file.removeUser(name))
  terminal.out(`${name} is removed from ${shown(place)}. Its keys are worth nothing, and its clients are sent away.\n`)
  return done(place, terminal.out)
}

function listUsers({ flags, place, terminal: { out, now } }: Call): number {
  const all = readUsers(place.file)
  if (flags.json)
    return print(
      out,
      [...all.users.values()].map(user => asJson(user)),
    )
  if (all.users.size === 0) {
    out(`no users in ${shown(place)}; telehub user add NAME makes one\n`)
    return done(place, out)
  }
  const rows = [...all.users.values()].map(user => [
    user.name,
    user.kind,
    passwordText(user),
    String(user.keys.length),
    plain(user.clients.join(', ')) || 'any',
    String(user.rules.length),
    user.pairing && user.pairing.expires > now() ? `until ${time(user.pairing.expires)}` : '',
  ])
  out(table(['user', 'kind', 'password', 'keys', 'clients', 'rules', 'pairing'], rows))
  return done(place, out)
}

function showUser({ given: [name = ''], flags, place, terminal: { out, now } }: Call): number {
  const all = readUsers(place.file)
  const user = userOf(all, name, place)
  if (flags.json) return print(out, asJson(user))
  const rows: [string, string][] = [
    ['user', user.name],
    ['kind', user.kind],
    ['password', passwordText(user)],
    ['scram', user.scram ? scramMethod : 'none'],
    ['clients', user.clients.join(', ') || 'any'],
    ['certificates', [name, ...user.certificates].join(', ')],
    ['wildcards', user.wildcards === undefined ? 'as limits.wildcards says' : String(user.wildcards)],
    ['share', user.share === undefined ? 'as limits.share says' : `${user.share} %`],
  ]
  if (user.pairing) {
    const { expires } = user.pairing
    rows.push(['pairing', expires > now() ? `a code is good until ${time(expires)}` : 'the code is too old'])
  }
  for (const [what, value] of rows) out(`${what.padEnd(13)}${plain(value)}\n`)
  const show = (rules: readonly AccessRule[]) => {
    for (const rule of rules) out(`  ${plain(`${rule.place}: ${ruleText(rule)}`)}\n`)
  }
  out(user.rules.length > 0 ? '\nrules\n' : '\nno rules of its own\n')
  show(user.rules)
  if (all.everyone.length > 0) out('\nrules for everyone\n')
  show(all.everyone)
  if (user.keys.length > 0) out(`\n${keyTable(user)}`)
  return 0
}

async function grant({ given: [name = '', verb = '', filter = ''], flags, place, terminal }: Call): Promise<number> {
  const text = ruleOf(`${flags.deny ? 'deny' : 'allow'} ${verb} ${filter}`)
  const isNew = await editUsers(place.file, file => file.addRule(name, text))
  const all = readUsers(place.file)
  const user = userOf(all, name, place)
  const rule = user.rules.find(one => ruleText(one) === text)
  terminal.out(
    `${plain(`${rule?.place}: ${text}`)} · ${isNew ? `${name} has this rule now` : 'it was there already'}\n`,
  )
  if (!flags.deny) {
    const about = [...user.rules, ...all.everyone].filter(one => one.effect === 'deny' && shareVerb(one.verb, verb))
    for (const one of about.filter(({ filter: denied }) => overlap(denied, filter))) {
      terminal.out(`${plain(`${one.place}: ${ruleText(one)}`)} · still refuses what both are about\n`)
    }
  }
  return done(place, terminal.out)
}

async function revoke({ given: [name = '', verb = '', filter = ''], flags, place, terminal }: Call): Promise<number> {
  const text = ruleOf(`${flags.deny ? 'deny' : 'allow'} ${verb} ${filter}`)
  const { rules } = userOf(readUsers(place.file), name, place)
  if (!(await editUsers(place.file, file => file.removeRule(name, text)))) {
    const has = rules.map(ruleText).join(', ')
    throw new HubError(
      'not_found',
      `${name} has no rule ${quote(text)}; ${has ? `it has ${plain(has)}` : 'it has none at all'}`,
    )
  }
  terminal.out(`${name} has no longer the rule ${plain(text)}\n`)
  return done(place, terminal.out)
}

async function addKey({ given: [name = ''], flags, place, terminal }: Call): Promise<number> {
  const { text, key } = makeKey(typeof flags.label === 'string' ? flags.label : '', terminal.now())
  await editUsers(place.file, file => file.addKey(name, key))
  terminal.out(`${name} has a key more, shown this once:\n  ${text}\n`)
  terminal.out(`over HTTP: Authorization: Bearer ${text.slice(0, 13)}…; over MQTT: as the password of ${name}\n`)
  return done(place, terminal.out)
}

async function removeKey({ given: [name = '', id = ''], place, terminal }: Call): Promise<number> {
  await editUsers(place.file, file => file.removeKey(name, id))
  terminal.out(`${name} has no longer the key ${id}; whoever uses it is refused from now on\n`)
  return done(place, terminal.out)
}

function listKeys({ given: [name = ''], flags, place, terminal: { out } }: Call): number {
  const user = userOf(readUsers(place.file), name, place)
  if (flags.json) return print(out, asJson(user).keys)
  out(user.keys.length > 0 ? keyTable(user) : `${name} has no keys; telehub user key add ${name} makes one\n`)
  return 0
}

async function pair({ given: [name = ''], flags, place, terminal }: Call): Promise<number> {
  const clients = texts(flags, 'client', clientPatternFault)
  const rules = rulesOf(flags, 'device')
  const { code, pairing } = makePairing(terminal.now())
  const isNew = await editUsers(place.file, file => {
    const known = file.before.users.get(name)
    if (known && known.kind !== 'device') {
      throw new HubError('bad_request', `${name} is ${article(known.kind)}, and only a device is paired`)
    }
    if (known && (flags.allow || flags.deny || flags.client)) {
      throw usage(
        `${name} is a device already: telehub user grant gives it more, --allow, --deny and --client are for a new one`,
      )
    }
    if (!known) file.addUser({ name, kind: 'device', password: '', clients, certificates: [], rules })
    file.setPairing(name, pairing)
    return !known
  })
  const { out } = terminal
  out(
    isNew
      ? `${name} is now a device in ${shown(place)}. It may:\n`
      : `With this code ${name} gets a new password; the one it may have ends then.\n`,
  )
  if (isNew) for (const rule of rules) out(`  ${plain(rule)}\n`)
  out(
    `\n  ${code}\n\ngood once, until ${time(pairing.expires)}. The device sends it, and gets its name and password:\n`,
  )
  out(`  curl -d '{"code":"${code}"}' -H 'content-type: application/json' ${reachable(place.url)}/api/pair\n`)
  return done(place, out)
}

function explainRules({ flags, place, terminal: { out } }: Call): number {
  const ways = (['publish', 'subscribe', 'read'] as const).filter(way => flags[way] !== undefined)
  const [way, more] = ways
  if (typeof flags.user !== 'string' || !way || more) {
    throw usage('telehub explain needs --user, and one of --publish, --subscribe, --read')
  }
  const [client = flags.user, ...others] = texts(flags, 'client', () => undefined)
  if (others.length > 0) throw usage('telehub explain: given --client twice, it asks about one')
  const question = { user: flags.user, client, way, topic: String(flags[way]) }
  const { allowed, lines } = explain(readUsers(place.file), basename(place.file), place.wildcards, question)
  out(`${allowed ? 'yes' : 'no'}\n${lines.map(line => `${plain(line)}\n`).join('')}`)
  return allowed ? 0 : 1
}

function kindOf(given: UserFlags[string]): RuleKind {
  if (given === undefined) return 'device'
  const kind = kinds.find(one => one === given)
  if (kind) return kind
  throw usage(`--kind: given ${quote(String(given))}, allowed are ${kinds.join(', ')}`)
}

/** Returns the rules of `--allow` and `--deny`, with the usual rules of the kind when `--allow` is not given. */
function rulesOf(flags: UserFlags, kind: RuleKind): string[] {
  const of = (effect: 'allow' | 'deny') =>
    texts(flags, effect, () => undefined).map(one => ruleOf(`${effect} ${one}`, effect))
  const allowed = of('allow')
  const usual = allowed.length > 0 ? allowed : usualRules[kind]
  if (usual.length === 0)
    throw usage(`${article(kind)} needs at least one --allow, such as --allow "read home/#": it may do nothing else`)
  return [...new Set([...usual, ...of('deny')])]
}

function ruleOf(text: string, flag?: string): string {
  const rule = parseRule(text)
  if (typeof rule !== 'string') return ruleText(rule)
  throw usage(`${flag ? `--${flag}: ` : ''}${rule}`)
}

function texts(flags: UserFlags, flag: string, faultOf: (text: string) => string | undefined): string[] {
  return [flags[flag] ?? []].flat().map(one => {
    const fault = faultOf(String(one))
    if (fault) throw usage(`--${flag}: ${fault}`)
    return String(one)
  })
}

interface NewPassword {
  readonly hash: string
  /** SCRAM verifier; empty without `--scram`. */
  readonly scram: string
  /** The generated password. Undefined when the operator gave one. */
  readonly made: string | undefined
}

async function passwordOf(name: string, flags: UserFlags, { asks }: UserTerminal): Promise<NewPassword> {
  const file = flags['password-file']
  if (flags.generate) {
    if (file !== undefined) throw usage('--generate and --password-file: given both, allowed is one')
    const made = makeSecret()
    return { hash: hashSecret(made), scram: flags.scram ? makeScram(made) : '', made }
  }
  const given = typeof file === 'string' ? firstLineOf(file) : asks ? await askTwice(name) : await firstLine()
  if (given === '') {
    throw usage(`no password came for ${name}: type it, pipe it in, or use --password-file or --generate`)
  }
  const length = [...given].length
  if (length < shortest || length > longest) {
    throw new HubError(
      'bad_settings',
      `the password: given ${many(length, 'character')}, allowed are ${shortest} to ${count(longest)}`,
    )
  }
  const prepared = flags.scram ? await preparePassword(given) : ''
  if (prepared === undefined) {
    throw new HubError(
      'bad_settings',
      `the password: has a character that ${scramMethod} cannot use (RFC 4013), such as an emoji; take another, or leave out --scram`,
    )
  }
  return { hash: await hashPassword(given), scram: prepared && makeScram(prepared), made: undefined }
}

async function askTwice(name: string): Promise<string> {
  const first = await askHidden(`Password of ${name}: `)
  if (first !== (await askHidden('Once more: '))) {
    throw new HubError('bad_settings', 'the two passwords differ; nothing was changed')
  }
  return first
}

function firstLineOf(path: string): string {
  try {
    return readFileSync(path, 'utf8').split(/\r?\n/)[0] ?? ''
  } catch (error) {
    throw new HubError('bad_settings', `--password-file: cannot read ${quote(path)}: ${plain(describe(error))}`)
  }
}

function userOf({ users }: Users, name: string, place: UserPlace): User {
  const user = users.get(name)
  if (user) return user
  throw new HubError(
    'not_found',
    `there is no user ${name} in ${shown(place)}; telehub user list shows those there are`,
  )
}

/** Ends a command, with a notice when no hub uses the file yet. */
function done({ file, isNamed, settingsFile }: UserPlace, out: UserTerminal['out']): number {
  if (!isNamed) out(`No hub uses this file yet: set auth.file: ${plain(file)} in ${plain(settingsFile)}\n`)
  return 0
}

const article = (kind: RuleKind) => `${kind === 'admin' ? 'an' : 'a'} ${kind}`

const shown = ({ file }: UserPlace) => plain(file)

function passwordText({ password }: User): string {
  return password === '' ? 'none' : isSecretHash(password) ? 'generated' : 'set'
}

/** Returns a user without secrets. */
function asJson({ name, kind, password, scram, clients, certificates, wildcards, share, rules, keys, pairing }: User) {
  return {
    name,
    kind,
    hasPassword: password !== '',
    hasScram: scram !== '',
    clients,
    certificates,
    wildcards,
    share,
    rules: rules.map(rule => ({ rule: ruleText(rule), place: rule.place })),
    keys: keys.map(({ id, label, created }) => ({ id, label, created })),
    pairing: pairing && { expires: pairing.expires },
  }
}

function keyTable({ keys }: User): string {
  const rows = keys.map(({ id, label, created }) => [id, plain(label), created > 0 ? time(created) : ''])
  return table(['key', 'label', 'made'], rows)
}

function shareVerb(one: string, other: string): boolean {
  if (one === other || one === 'all' || other === 'all') return true
  return one !== 'publish' && other !== 'publish'
}

/**
 * Returns a URL to call: the wildcard address for listening on all addresses is replaced by the name of this machine.
 */
function reachable(url: string): string {
  const { hostname: host } = new URL(url)
  return host === '0.0.0.0' || host === '[::]' ? url.replace(host, hostname()) : url
}

function usage(sentence: string): HubError {
  return new HubError('bad_settings', `${sentence}; telehub --help shows the use`)
}

function print(out: UserTerminal['out'], answer: unknown): number {
  out(`${JSON.stringify(answer, undefined, 2)}\n`)
  return 0
}
