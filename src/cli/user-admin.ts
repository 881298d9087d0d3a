import { hostname } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { type AccessRule, overlap, parseRule, quote, ruleText, verbs } from '../access/rules.js'
import { HubError } from '../errors.js'
import { plain } from '../observe/log.js'
import { iterations, scramMethod } from '../passwords/scram.js'
import { nearest } from '../runtime/nearest.js'
import { count, firstLine, many, table, time } from '../runtime/terminal.js'
import {
  clientPatternFault,
  kinds,
  makeKey,
  makePairing,
  passwordKind,
  type RuleKind,
  readUsers,
  type User,
  type Users,
  userNameFault,
  usualRules,
} from '../users/users.js'
import { applyEdit, article, editUsers, explain } from '../users/users-file.js'
import { type Call, type Command, command, type Flags, type FlagValues, type Terminal, usage } from './command.js'
import { urlOf } from './hub-address.js'
import { maxPassword, minPassword, newPassword } from './new-password.js'
import { printJson } from './print.js'

/*
 * Commands that read and change the users file: `telehub user …`, `telehub device pair` and `telehub explain`. They
 * need no running hub; a hub that uses the file picks up changes within a second or two.
 */

const passwordFlags = {
  'password-file': { value: 'FILE', help: 'the password is the first line of this file' },
  generate: { help: 'makes a password, and prints it once' },
  scram: { help: `the password also works for ${scramMethod} of MQTT 5` },
} as const satisfies Flags

const ruleFlags = {
  allow: { value: '"VERB FILTER"', isRepeated: true, help: 'a rule that allows; default: the usual rules of the kind' },
  deny: { value: '"VERB FILTER"', isRepeated: true, help: 'a rule that denies' },
  client: {
    value: 'PATTERN',
    isRepeated: true,
    help: 'client id that the user may use, such as thermo-*; default: any',
  },
} as const satisfies Flags

const addFlags = {
  kind: { value: 'KIND', help: `${kinds.join(', ')}; default: device` },
  ...ruleFlags,
  certificate: { value: 'NAME', isRepeated: true, help: 'a certificate with this name authenticates the user' },
  ...passwordFlags,
} as const satisfies Flags

const denyFlags = { deny: { help: 'the rule denies' } } as const satisfies Flags
const removeFlags = { yes: { help: 'do not ask' } } as const satisfies Flags
const labelFlags = { label: { value: 'TEXT', help: 'a note shown in the list of keys' } } as const satisfies Flags
const jsonFlags = { json: { help: 'print JSON' } } as const satisfies Flags

const explainFlags = {
  user: { value: 'USER', help: 'the user (needed)' },
  client: { value: 'CLIENT', help: 'the client id; default: the name of the user' },
  publish: { value: 'TOPIC', help: 'may the user publish to it?' },
  subscribe: { value: 'FILTER', help: 'may the user subscribe to it?' },
  read: { value: 'TOPIC', help: 'may the user receive messages of it?' },
} as const satisfies Flags

const aboutPasswords =
  `The password has ${minPassword} to ${count(maxPassword)} characters. It is asked for on a terminal, or is the first line of stdin.\n` +
  `With --scram a client counts ${count(iterations)} hashes at each connection.`

const aboutRules = `VERB is ${verbs.join(', ')}. FILTER is a topic filter; {user} and {client} stand for the names.`

/* The users file is that of auth.file. A hub that uses the file applies changes within a second or two. */
export const userCommands: readonly Command[] = [
  ofUsers({
    name: 'user add',
    takes: ['NAME'],
    summary: 'add a user: a device, dashboard, service or admin',
    about: `${aboutPasswords}\n${aboutRules}`,
    flags: addFlags,
    examples: [
      'telehub user add alice --kind admin',
      'telehub user add thermo --allow "publish home/{user}/#" --client "thermo-*" --generate',
    ],
    run: addUser,
  }),
  ofUsers({
    name: 'user passwd',
    takes: ['NAME'],
    summary: 'change the password of a user; connections with the old one are closed',
    about: aboutPasswords,
    flags: passwordFlags,
    examples: ['telehub user passwd alice'],
    run: setPassword,
  }),
  ofUsers({
    name: 'user remove',
    takes: ['NAME'],
    summary: 'remove a user and its API keys; its connections are closed',
    flags: removeFlags,
    examples: ['telehub user remove thermo --yes'],
    run: removeUser,
  }),
  ofUsers({
    name: 'user list',
    summary: 'list all users',
    flags: jsonFlags,
    examples: ['telehub user list'],
    run: listUsers,
  }),
  ofUsers({
    name: 'user show',
    takes: ['NAME'],
    summary: 'show a user with its rules',
    flags: jsonFlags,
    examples: ['telehub user show thermo'],
    run: showUser,
  }),
  ofUsers({
    name: 'user grant',
    takes: ['NAME', 'VERB', 'FILTER'],
    summary: 'add a rule to a user',
    about: aboutRules,
    flags: denyFlags,
    examples: ['telehub user grant screen read "home/#"', 'telehub user grant screen read home/secret --deny'],
    run: grant,
  }),
  ofUsers({
    name: 'user revoke',
    takes: ['NAME', 'VERB', 'FILTER'],
    summary: 'remove a rule from a user',
    about: aboutRules,
    flags: denyFlags,
    examples: ['telehub user revoke screen read "home/#"'],
    run: revoke,
  }),
  ofUsers({
    name: 'user key add',
    takes: ['NAME'],
    summary: 'make an API key for a user, and print it once',
    flags: labelFlags,
    examples: ['telehub user key add grafana --label "dashboards"'],
    run: addKey,
  }),
  ofUsers({
    name: 'user key remove',
    takes: ['NAME', 'ID'],
    summary: 'remove an API key; it is rejected from then on',
    about: 'telehub user key list NAME shows the ids.',
    examples: ['telehub user key remove grafana a1b2c3d4'],
    run: removeKey,
  }),
  ofUsers({
    name: 'user key list',
    takes: ['NAME'],
    summary: 'list the API keys of a user',
    flags: jsonFlags,
    examples: ['telehub user key list grafana'],
    run: listKeys,
  }),
  ofUsers({
    name: 'device pair',
    takes: ['NAME'],
    summary: 'make a code that a device exchanges for its own user name and password, once',
    about: aboutRules,
    flags: ruleFlags,
    examples: ['telehub device pair lamp --allow "all lamps/{user}/#"'],
    run: pair,
  }),
  ofUsers({
    name: 'explain',
    summary: 'say whether a user may publish, subscribe or read, and which line of the users file decides',
    flags: explainFlags,
    examples: ['telehub explain --user thermo --client thermo-1 --publish home/hall/t'],
    run: explainRules,
  }),
]

interface UserPlace {
  readonly file: string
  /** Whether the settings name the file. Otherwise `file` is the default path. */
  readonly isNamed: boolean
  readonly settingsFile: string
  readonly url: string
  /** The setting limits.wildcards. */
  readonly wildcards: number
}

type UserCall<F extends Flags> = Call<F> & { readonly place: UserPlace }

/** Returns a command that reads or changes the users file. */
function ofUsers<const F extends Flags>({
  run,
  ...declared
}: Omit<Command<F>, 'run'> & { readonly run: (call: UserCall<F>) => Promise<number> | number }): Command {
  return command<F>({
    ...declared,
    run: call => {
      const fault = declared.takes?.[0] === 'NAME' ? userNameFault(call.args[0] as string) : undefined
      if (fault) throw usage(`NAME: ${fault}`)
      return run({ ...call, place: placeOf(call) })
    },
  } as Command<F>)
}

/** Returns the users file, or where one is made when the settings name none: beside the settings file. */
function placeOf({ settings: read, settingsFile }: Pick<Call, 'settings' | 'settingsFile'>): UserPlace {
  const settings = read()
  const named = settings['auth.file']
  const file = named || join(dirname(settingsFile), 'users.yaml')
  const wildcards = settings['limits.wildcards']
  return { file, isNamed: named !== '', settingsFile, url: urlOf(settings), wildcards }
}

async function addUser({ args: [name = ''], flags, place, terminal }: UserCall<typeof addFlags>): Promise<number> {
  const kind = kindOf(flags.kind)
  const rules = rulesOf(flags, kind)
  const clients = checkedTexts('client', flags.client, clientPatternFault)
  const { certificate: certificates = [] } = flags
  if (readUsers(place.file).users.has(name)) {
    throw new HubError(
      'bad_request',
      `user ${name} already exists in ${shown(place)}; telehub user show ${name} shows it`,
    )
  }
  // The operator is not asked for a password that the user does not need.
  const needsNone =
    (name === 'anonymous' || certificates.length > 0) &&
    !Object.keys(passwordFlags).some(flag => flags[flag as keyof typeof passwordFlags])
  const { hash, scram, made } = needsNone
    ? { hash: '', scram: '', made: undefined }
    : await newPassword(name, flags, terminal)
  const user = { name, kind, password: hash, scram, clients, certificates, rules }
  await editUsers(place.file, file => applyEdit(file, { do: 'add', user }))
  const { out } = terminal
  out(`Added ${name} (${kind}) to ${shown(place)}. Rules:\n`)
  for (const rule of rules) out(`  ${plain(rule)}\n`)
  if (clients.length > 0) out(`Client ids: ${plain(clients.join(', '))}\n`)
  if (made) out(`Password, shown only now: ${made}\n`)
  if (scram) out(`The password also works for ${scramMethod}\n`)
  if (certificates.length > 0)
    out(`A client certificate with the name ${plain([name, ...certificates].join(' or '))} authenticates it\n`)
  else if (needsNone) out('Clients that send no user name are this user, if auth.anonymous is true\n')
  return done(place, out)
}

async function setPassword({
  args: [name = ''],
  flags,
  place,
  terminal,
}: UserCall<typeof passwordFlags>): Promise<number> {
  const before = userOf(readUsers(place.file), name, place)
  const { hash, scram, made } = await newPassword(name, flags, terminal)
  await editUsers(place.file, file => applyEdit(file, { do: 'password', name, hash, scram }))
  terminal.out(`Changed the password of ${name}. Connections with the old one are closed.\n`)
  if (made) terminal.out(`Password, shown only now: ${made}\n`)
  if (scram) terminal.out(`The password also works for ${scramMethod}\n`)
  else if (before.scram) terminal.out(`${scramMethod} no longer works for it: that needs --scram\n`)
  return done(place, terminal.out)
}

async function removeUser({
  args: [name = ''],
  flags,
  place,
  terminal,
}: UserCall<typeof removeFlags>): Promise<number> {
  const { keys } = userOf(readUsers(place.file), name, place)
  if (!flags.yes) {
    if (!terminal.asks) throw usage(`telehub user remove deletes ${name}: confirm with --yes`)
    process.stderr.write(`Remove ${name} and its ${many(keys.length, 'key')}? [y/N] `)
    if (!/^y(es)?$/i.test((await firstLine()).trim())) throw new HubError('bad_request', 'nothing was changed')
  }
  await editUsers(place.file, file => applyEdit(file, { do: 'remove', name }))
  terminal.out(`Removed ${name} from ${shown(place)}. Its keys no longer work, and its connections are closed.\n`)
  return done(place, terminal.out)
}

function listUsers({ flags, place, terminal: { out, now } }: UserCall<typeof jsonFlags>): number {
  const all = readUsers(place.file)
  if (flags.json)
    return printJson(
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
    passwordKind(user),
    String(user.keys.length),
    plain(user.clients.join(', ')) || 'any',
    String(user.rules.length),
    user.pairing && user.pairing.expires > now() ? `until ${time(user.pairing.expires)}` : '',
  ])
  out(table(['user', 'kind', 'password', 'keys', 'clients', 'rules', 'pairing'], rows))
  return done(place, out)
}

function showUser({ args: [name = ''], flags, place, terminal: { out, now } }: UserCall<typeof jsonFlags>): number {
  const all = readUsers(place.file)
  const user = userOf(all, name, place)
  if (flags.json) return printJson(out, asJson(user))
  const rows: [string, string][] = [
    ['user', user.name],
    ['kind', user.kind],
    ['password', passwordKind(user)],
    ['scram', user.scram ? scramMethod : 'none'],
    ['clients', user.clients.join(', ') || 'any'],
    ['certificates', [name, ...user.certificates].join(', ')],
    ['wildcards', user.wildcards === undefined ? 'as set in limits.wildcards' : String(user.wildcards)],
    ['share', user.share === undefined ? 'as set in limits.share' : `${user.share} %`],
  ]
  if (user.pairing) {
    const { expires } = user.pairing
    rows.push(['pairing', expires > now() ? `a code is valid until ${time(expires)}` : 'the code has expired'])
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

async function grant({
  args: [name = '', verb = '', filter = ''],
  flags,
  place,
  terminal,
}: UserCall<typeof denyFlags>): Promise<number> {
  const text = ruleOf(`${flags.deny ? 'deny' : 'allow'} ${verb} ${filter}`)
  const edit = { do: 'rules', name, add: [text], remove: [] } as const
  const isNew = await editUsers(place.file, file => applyEdit(file, edit))
  const all = readUsers(place.file)
  const user = userOf(all, name, place)
  const rule = user.rules.find(one => ruleText(one) === text)
  terminal.out(`${plain(`${rule?.place}: ${text}`)} · ${isNew ? 'added' : 'it was already there'}\n`)
  if (!flags.deny) {
    const about = [...user.rules, ...all.everyone].filter(one => one.effect === 'deny' && shareVerb(one.verb, verb))
    for (const one of about.filter(({ filter: denied }) => overlap(denied, filter))) {
      terminal.out(`${plain(`${one.place}: ${ruleText(one)}`)} · still denies the topics that both match\n`)
    }
  }
  return done(place, terminal.out)
}

async function revoke({
  args: [name = '', verb = '', filter = ''],
  flags,
  place,
  terminal,
}: UserCall<typeof denyFlags>): Promise<number> {
  const text = ruleOf(`${flags.deny ? 'deny' : 'allow'} ${verb} ${filter}`)
  userOf(readUsers(place.file), name, place)
  await editUsers(place.file, file => applyEdit(file, { do: 'rules', name, add: [], remove: [text] }))
  terminal.out(`Removed the rule ${plain(text)} from ${name}\n`)
  return done(place, terminal.out)
}

async function addKey({ args: [name = ''], flags, place, terminal }: UserCall<typeof labelFlags>): Promise<number> {
  const { text, key } = makeKey(flags.label ?? '', terminal.now())
  await editUsers(place.file, file => applyEdit(file, { do: 'add key', name, key }))
  terminal.out(`New API key for ${name}. It is shown only now:\n  ${text}\n`)
  terminal.out(`HTTP: Authorization: Bearer ${text.slice(0, 13)}…; MQTT: as the password of ${name}\n`)
  return done(place, terminal.out)
}

async function removeKey({ args: [name = '', id = ''], place, terminal }: UserCall<Flags>): Promise<number> {
  await editUsers(place.file, file => applyEdit(file, { do: 'remove key', name, id }))
  terminal.out(`Removed the key ${id} of ${name}; it is rejected from now on\n`)
  return done(place, terminal.out)
}

function listKeys({ args: [name = ''], flags, place, terminal: { out } }: UserCall<typeof jsonFlags>): number {
  const user = userOf(readUsers(place.file), name, place)
  if (flags.json) return printJson(out, asJson(user).keys)
  out(user.keys.length > 0 ? keyTable(user) : `${name} has no keys; telehub user key add ${name} makes one\n`)
  return 0
}

async function pair({ args: [name = ''], flags, place, terminal }: UserCall<typeof ruleFlags>): Promise<number> {
  const clients = checkedTexts('client', flags.client, clientPatternFault)
  const rules = rulesOf(flags, 'device')
  const { code, pairing } = makePairing(terminal.now())
  const isGiven = [flags.allow, flags.deny, flags.client].some(given => given !== undefined)
  if (isGiven && readUsers(place.file).users.get(name)?.kind === 'device') {
    throw usage(
      `the device ${name} already exists: --allow, --deny and --client are for new ones; telehub user grant adds rules`,
    )
  }
  const edit = { do: 'pair', name, pairing, device: { clients, rules, isGiven } } as const
  const isNew = await editUsers(place.file, file => applyEdit(file, edit))
  const { out } = terminal
  out(
    isNew
      ? `Added ${name} (device) to ${shown(place)}. Rules:\n`
      : `With this code ${name} gets a new password, which replaces the old one.\n`,
  )
  if (isNew) for (const rule of rules) out(`  ${plain(rule)}\n`)
  out(
    `\n  ${code}\n\nValid once, until ${time(pairing.expires)}. The device sends it, and gets its user name and password:\n`,
  )
  out(`  curl -d '{"code":"${code}"}' -H 'content-type: application/json' ${reachable(place.url)}/api/pair\n`)
  return done(place, out)
}

function explainRules({ flags, place, terminal: { out } }: UserCall<typeof explainFlags>): number {
  const { user, client = user } = flags
  const [way, more] = (['publish', 'subscribe', 'read'] as const).filter(way => flags[way] !== undefined)
  if (user === undefined || client === undefined || !way || more) {
    throw usage('telehub explain needs --user, and one of --publish, --subscribe, --read', 'explain')
  }
  const question = { user, client, way, topic: flags[way] as string }
  const { allowed, lines } = explain(readUsers(place.file), basename(place.file), place.wildcards, question)
  out(`${allowed ? 'yes' : 'no'}\n${lines.map(line => `${plain(line)}\n`).join('')}`)
  return allowed ? 0 : 1
}

function kindOf(given: string | undefined): RuleKind {
  if (given === undefined) return 'device'
  const kind = kinds.find(one => one === given)
  if (kind) return kind
  const meant = nearest(given, kinds)
  const hint = meant === undefined ? '' : `; did you mean ${meant}?`
  throw usage(`--kind: given ${quote(given)}, allowed are ${kinds.join(', ')}${hint}`)
}

/** Returns the rules of `--allow` and `--deny`, with the usual rules of the kind when `--allow` is not given. */
function rulesOf({ allow = [], deny = [] }: FlagValues<typeof ruleFlags>, kind: RuleKind): string[] {
  const usual = allow.length > 0 ? allow.map(one => ruleOf(`allow ${one}`, 'allow')) : usualRules[kind]
  if (usual.length === 0)
    throw usage(`${article(kind)} needs at least one --allow, such as --allow "read home/#": it has no other rights`)
  return [...new Set([...usual, ...deny.map(one => ruleOf(`deny ${one}`, 'deny'))])]
}

function ruleOf(text: string, flag?: string): string {
  const rule = parseRule(text)
  if (typeof rule !== 'string') return ruleText(rule)
  throw usage(`${flag ? `--${flag}: ` : ''}${rule}`)
}

function checkedTexts(
  flag: string,
  given: readonly string[] = [],
  faultOf: (text: string) => string | undefined,
): readonly string[] {
  for (const one of given) {
    const fault = faultOf(one)
    if (fault) throw usage(`--${flag}: ${fault}`)
  }
  return given
}

function userOf({ users }: Users, name: string, place: UserPlace): User {
  const user = users.get(name)
  if (user) return user
  throw new HubError('not_found', `there is no user ${name} in ${shown(place)}; telehub user list shows all`)
}

/** Ends a command, with a notice when no hub uses the file yet. */
function done({ file, isNamed, settingsFile }: UserPlace, out: Terminal['out']): number {
  if (!isNamed) out(`No hub uses this file yet: set auth.file: ${plain(file)} in ${plain(settingsFile)}\n`)
  return 0
}

const shown = ({ file }: UserPlace) => plain(file)

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
