import type { FastifyInstance } from 'fastify'
import { type AccessRule, ruleText } from '../access/rules.js'
import type { Bans, Logins } from '../auth/admission.js'
import type { Answer } from '../contract/contract.js'
import { HubError } from '../errors.js'
import type { Auditor } from '../observe/audit.js'
import type { LiveSettings } from '../observe/live-settings.js'
import type { PipelineApi } from '../pipeline/pipeline-api.js'
import type { UserDirectory, UsersEdited } from '../users/user-directory.js'
import {
  clientPatternFault,
  makeKey,
  makePairing,
  passwordKind,
  type User,
  userNameFault,
  usualRules,
} from '../users/users.js'
import { article, checkedRules, type UserEdit } from '../users/users-file.js'
import { changeBy } from './changes.js'
import type { AuthorityPort, Guard } from './guard.js'
import { ownUrls, type Site } from './own-urls.js'
import { type RouteCall, serve } from './route.js'
import type { PairingDesk } from './session.js'

export interface UserRoutesOptions {
  readonly guard: Guard
  readonly authority: AuthorityPort | undefined
  readonly logins: Pick<Logins, 'list'>
  readonly bans: Pick<Bans, 'imposed'>
  readonly pairing: Pick<PairingDesk, 'last'>
  readonly pipeline: Pick<PipelineApi, 'devices'>
  readonly live: Pick<LiveSettings, 'current'>
  readonly audit: Auditor
  readonly site: Site
}

type UserRow = Answer<'GET /api/users'>['users'][number]

/** Largest body: a user with a thousand long rules. */
const bodyLimit = 1_048_576

/** Routes that read and change the users file. */
export async function userRoutes(app: FastifyInstance, options: UserRoutesOptions): Promise<void> {
  const { guard, authority, logins, bans, pairing, pipeline, live, audit, site } = options

  serve(app, 'GET /api/users', async ({ search = '', name, after = '', limit }) => {
    if (!authority || authority.open) return { file: '', version: '', count: 0, users: [], everyone: [] }
    const { users, everyone, file, version, trouble } = authority.directory.state
    const wanted = search.toLowerCase()
    const fit = [...users.values()]
      .filter(user => (name === undefined ? user.name.toLowerCase().includes(wanted) : user.name === name))
      .sort((one, other) => (one.name < other.name ? -1 : 1))
    const rest = fit.filter(one => one.name > after)
    const page = rest.slice(0, limit)
    const traces = await tracesOf(new Set(page.map(one => one.name)))
    const next = rest.length > limit ? page.at(-1)?.name : undefined
    return {
      ...{ file, version, count: fit.length, users: page.map(user => ({ ...rowOf(user), ...traces(user.name) })) },
      everyone: everyone.map(placed),
      ...(next !== undefined && { next }),
      ...(trouble !== undefined && { trouble }),
    }
  })

  serve(
    app,
    'POST /api/users',
    async ({ name, kind, rules, clients = [], certificates = [], password }, call) => {
      check(userNameFault(name), 'name')
      checkClients(clients)
      const all = rules === undefined || rules.length === 0 ? usualRules[kind] : checkedRules(rules)
      if (all.length === 0) throw new HubError('bad_request', `rules: ${article(kind)} has no rights without a rule`)
      const user = { name, kind, password: '', clients, certificates, rules: all }
      const what = `add user ${name}`
      const detail = `${kind}: ${all.join(', ')}`
      const { password: made, version } = await edit(call, { do: 'add', user }, { what, detail, makes: password })
      return { version, ...(made !== undefined && { password: made }) }
    },
    { bodyLimit },
  )

  serve(app, 'POST /api/users/password', async ({ name, scram }, call) => {
    const makes = scram ? 'scram' : 'password'
    const { password = '', version } = await edit(
      call,
      { do: 'password', name, hash: '', scram: '' },
      { what: `new password of user ${name}`, makes },
    )
    return { password, version }
  })

  serve(
    app,
    'POST /api/users/rules',
    async ({ name, add = [], remove = [] }, call) => {
      const change = { do: 'rules', name, add: checkedRules(add), remove: checkedRules(remove) } as const
      const detail = [...change.add.map(rule => `+ ${rule}`), ...change.remove.map(rule => `- ${rule}`)].join(', ')
      const { version } = await edit(call, change, { what: `rules of user ${name}`, detail })
      return { version }
    },
    { bodyLimit },
  )

  serve(app, 'DELETE /api/users', async ({ name }, call) => {
    if (name === call.caller.user) {
      throw new HubError('bad_request', 'you cannot remove the user that you are signed in as; another admin can', {
        said: { code: 'own-user', values: {} },
      })
    }
    const { version } = await edit(call, { do: 'remove', name }, { what: `remove user ${name}` })
    return { version }
  })

  serve(app, 'POST /api/users/keys', async ({ name, label }, call) => {
    const { text, key } = makeKey(label, Date.now())
    const what = `add API key of user ${name}`
    const { version } = await edit(call, { do: 'add key', name, key }, { what, detail: `${key.id} ${label}`.trim() })
    return { id: key.id, key: text, version }
  })

  serve(app, 'DELETE /api/users/keys', async ({ name, id }, call) => {
    const what = `end API key of user ${name}`
    const { version } = await edit(call, { do: 'remove key', name, id }, { what, detail: id })
    return { version }
  })

  serve(
    app,
    'POST /api/users/pairing',
    async ({ name, rules, clients = [] }, call) => {
      check(userNameFault(name), 'name')
      checkClients(clients)
      // By the clock of the machine, as those of telehub device pair.
      const { code, pairing } = makePairing(Date.now())
      const isGiven = rules !== undefined || clients.length > 0
      const device = { clients, rules: rules?.length ? checkedRules(rules) : usualRules.device, isGiven }
      const { isNew, version } = await edit(
        call,
        { do: 'pair', name, pairing, device },
        { what: `pairing code for device ${name}` },
      )
      return { code, expires: pairing.expires, isNew, addresses: ownUrls(site), version }
    },
    { bodyLimit },
  )

  serve(app, 'GET /api/explain', ({ user, action: way, topic, client = user }) => {
    const question = { user, client, way, topic }
    const { allowed, lines, rule } = directory().explain(question, live.current['limits.wildcards'])
    const isShared = rule !== undefined && directory().state.everyone.includes(rule)
    return {
      allowed,
      lines,
      ...(rule && { rule: { ...placed(rule), ...(isShared && { everyone: true as const }) } }),
    }
  })

  function directory(): UserDirectory {
    if (authority && !authority.open) return authority.directory
    throw new HubError('bad_request', 'this hub has no login (auth.file), so every client may do everything', {
      said: { code: 'no-login', values: {} },
    })
  }

  interface Told {
    readonly what: string
    readonly detail?: string
    readonly makes?: 'none' | 'password' | 'scram'
  }

  /** Edits the file, and writes to the audit log what was done, or that nothing was. */
  async function edit(call: RouteCall, change: UserEdit, { what, detail, makes = 'none' }: Told) {
    const users = directory()
    const match = call.request.headers['if-match']?.replace(/^"(.*)"$/, '$1')
    const by = { ...changeBy(call, guard), what, ...(detail && { detail }) }
    let edited: UsersEdited
    try {
      edited = await users.edit({ edit: change, version: match, makes })
    } catch (error) {
      const reason = error instanceof HubError ? error.code : 'internal'
      audit.record({ ...by, result: 'failed', reason })
      throw error
    }
    audit.record({ ...by, result: 'ok' })
    return { ...edited, version: users.state.version }
  }

  /** Resolves with what is known of the use of each of these users. */
  async function tracesOf(names: ReadonlySet<string>) {
    const json = Buffer.from(await pipeline.devices({ presence: undefined, rules: undefined })).toString()
    const { devices } = JSON.parse(json) as Answer<'GET /api/devices'>
    const seen = new Map<string, { online: number; lastSeen: number }>()
    const note = (user: string, online: number, at: number) => {
      if (!names.has(user)) return
      const before = seen.get(user) ?? { online: 0, lastSeen: 0 }
      seen.set(user, { online: before.online + online, lastSeen: Math.max(before.lastSeen, at) })
    }
    for (const { user, online, lastSeen } of devices) note(user, online ? 1 : 0, lastSeen)
    for (const { user, used } of logins.list(undefined)) note(user, 0, used)
    const locks = new Map(bans.imposed.filter(({ kind }) => kind === 'user').map(ban => [ban.name, ban]))
    return (name: string) => {
      const paired = pairing.last(name)
      const ban = locks.get(name)
      return {
        ...(seen.get(name) ?? { online: 0, lastSeen: 0 }),
        ...(paired && { paired }),
        ...(ban && { ban: { until: ban.until, by: ban.by } }),
      }
    }
  }
}

function check(fault: string | undefined, name: string): void {
  if (fault !== undefined) throw new HubError('bad_request', `${name}: ${fault}`)
}

function checkClients(clients: readonly string[]): void {
  for (const client of clients) check(clientPatternFault(client), 'clients')
}

const placed = (rule: AccessRule) => ({ rule: ruleText(rule), place: rule.place })

function rowOf(user: User): Omit<UserRow, 'online' | 'lastSeen'> {
  const { name, kind, scram, clients, certificates, wildcards, share, rules, keys, pairing } = user
  return {
    ...{ name, kind, clients, certificates, rules: rules.map(placed), scram: scram !== '' },
    password: passwordKind(user),
    keys: keys.map(({ id, label, created }) => ({ id, label, created })),
    ...(wildcards !== undefined && { wildcards }),
    ...(share !== undefined && { share }),
    ...(pairing && { pairing: { expires: pairing.expires } }),
  }
}
