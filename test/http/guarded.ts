import { connect } from 'node:net'
import { join } from 'node:path'
import type { Test } from 'tap'
import { Authority } from '../../src/auth/authority.js'
import { Bans, type BansOptions } from '../../src/auth/bans.js'
import { KnownSources } from '../../src/auth/known-sources.js'
import { Logins } from '../../src/auth/logins.js'
import { ShareLinks } from '../../src/auth/share-links.js'
import { loadSettings } from '../../src/config/config.js'
import { HubError } from '../../src/errors.js'
import type { MappingApi } from '../../src/http/mapping.js'
import { type HttpOptions, HttpServer } from '../../src/http/server.js'
import type { AuditEvent } from '../../src/observe/audit-chain.js'
import { hashSecret, makeSecret } from '../../src/passwords/passwords.js'
import type { Feed } from '../../src/push/feeds.js'
import { makeKey, type RuleKind } from '../../src/users/users.js'
import type { UsersFile } from '../../src/users/users-file.js'
import { quietAudit, quietLog } from '../fixtures/quiet.js'
import { usersFile } from '../fixtures/users.js'
import { eventually } from '../harness.js'
import { tempDir } from '../services/service.js'

/** Writes a user, in place of the one of this name; returns a key of it. `password` may be a scrypt hash. */
function putUser(file: UsersFile, name: string, kind: RuleKind, password: string, rules = everything): string {
  if (file.before.users.has(name)) file.removeUser(name)
  const hash = password === '' || password.startsWith('scrypt$') ? password : hashSecret(password)
  file.addUser({ name, kind, password: hash, clients: [], certificates: [], rules })
  const { text, key } = makeKey('', Date.now())
  file.addKey(name, key)
  return text
}

/** The mapping rules of a hub that has none. */
class NoRules implements MappingApi {
  readonly #reached: string[]

  constructor(reached: string[]) {
    this.#reached = reached
  }

  list() {
    return { revision: '"0-x"', rules: [], file: 'mapping.json', mayEdit: true, undo: 0, changes: [], mistakes: [] }
  }

  async save() {
    this.#reached.push('saveRules')
    return this.list()
  }

  async undo() {
    this.#reached.push('undoRules')
    return this.list()
  }

  async applyToPast() {
    this.#reached.push('applyToPast')
  }

  async undoPast() {
    this.#reached.push('undoPast')
  }

  get past() {
    return { change: undefined, progress: { done: 0, stored: 0, dropped: 0, kept: 0, finished: true } }
  }
}

const everything: readonly string[] = ['allow all #', 'allow read $hub/#']

export interface Guarded {
  readonly url: string
  readonly port: number
  readonly authority: Authority
  /** Makes a user, or another one of this name; resolves with a key of it when the hub knows. */
  readonly set: (name: string, kind: RuleKind, password: string, rules?: readonly string[]) => Promise<string>
  /** Resolves when the hub knows. */
  readonly remove: (name: string) => Promise<void>
  readonly logins: Logins
  readonly adminKey: string
  readonly bans: Bans
  /** What reached the hub behind the guard. */
  readonly reached: string[]
  /** Lines of the log, reasons of the counters, and events of the audit log. */
  readonly said: string[]
  readonly counted: string[]
  readonly audited: AuditEvent[]
  readonly request: (path: string, options?: RequestInit) => Promise<Response>
  readonly post: (path: string, body: unknown, headers?: Readonly<Record<string, string>>) => Promise<Response>
  /** Signs in; resolves with the cookie as it is sent back. */
  readonly signIn: (user: string, password: string) => Promise<string>
  /** Bytes as they are; resolves with all that is answered until the connection ends. */
  readonly raw: (text: string) => Promise<string>
}

/** The HTTP side of a hub that asks who one is, with nothing behind it; gone when the test ends. */
export async function startGuarded(
  t: Test,
  options: Partial<HttpOptions> & { origins?: readonly string[] } = {},
  banned: Partial<BansOptions> = {},
): Promise<Guarded> {
  const users = await usersFile()
  await users.edit(file => {
    putUser(file, 'ann', 'dashboard', 'sesame-ann')
    putUser(file, 'root', 'admin', 'sesame-root')
    putUser(file, 'thermo', 'device', 'sesame-thermo')
    putUser(file, 'grafana', 'service', 'sesame-grafana')
  })
  const dir = await tempDir()
  // It stands still: whoever has no attempt left gets none however slow the test is.
  const started = Date.now()
  const now = () => started
  const logins = new Logins({ path: join(dir, 'logins.json'), loginMs: 3_600_000, clock: { now }, monotonic: { now } })
  logins.start()
  const said: string[] = []
  const counted: string[] = []
  const audited: AuditEvent[] = []
  const audit = {
    record: (event: AuditEvent) => audited.push(event),
    repeated: (event: AuditEvent) => audited.push(event),
  }
  const bans = new Bans({
    path: join(dir, 'bans.json'),
    failures: 100,
    firstMs: 0,
    exempt: [],
    clock: { now },
    audit: quietAudit,
    log: quietLog,
    ...banned,
  })
  const authorityOptions = {
    file: users.file,
    anonymous: options.anonymous ?? false,
    attempts: 20,
    share: 0.1,
    logins,
    links: new ShareLinks({ path: join(dir, 'shares.json'), clock: { now }, incidents: { report: () => {} } }),
    known: new KnownSources(join(dir, 'sources.json')),
    bans,
    saltKey: join(dir, 'salt.key'),
    clock: { now },
    audit,
    log: { info: (sentence: string) => t.comment(sentence), warn: (sentence: string) => t.comment(sentence) },
  }
  const authority = new Authority(authorityOptions)
  authority.start()
  const reached: string[] = []
  const answer =
    (name: string, json = '{}') =>
    async (..._given: unknown[]) => {
      reached.push(name)
      return Buffer.from(json)
    }
  const imported = {
    ...{ rows: 0, stored: 0, dead: 0, ignored: 0, next: 1, position: '', finished: false, mistakes: [] },
  }
  const adminKey = `tha_${makeSecret()}`
  const server = new HttpServer({
    connections: 1_000,
    perAddress: 250,
    host: '127.0.0.1',
    port: 0,
    version: 'test',
    pipeline: {
      series: answer('series', '{"series":[]}'),
      history: answer('history'),
      store: answer('store'),
      hubs: async () => {
        reached.push('hubs')
        return []
      },
      beginExport: async () => {
        reached.push('beginExport')
        return { id: 1, extent: undefined, order: 'time' }
      },
      nextOfExport: async () => undefined,
      endExport: async () => {},
      askSql: answer('askSql', '{"columns":[],"rows":[],"isWhole":true}'),
      beginImport: async () => imported,
      takeImport: async () => imported,
      devices: answer('devices', '{"devices":[]}'),
      topics: answer('topics', '{"topics":0,"rate":0,"levels":[],"forgotten":0}'),
      topicMessages: async () => ({ messages: [], isWhole: true }),
      home: answer('home', '{"devices":[]}'),
      boards: answer('boards', '{"revision":"1"}'),
      patchBoards: answer('patchBoards', '{"revision":"1"}'),
      undoBoards: answer('undoBoards', '{"revision":"1"}'),
      boardScope: async () => undefined,
      setFavourites: async () => {
        reached.push('setFavourites')
      },
      influxql: async () => ({ status: 200, json: await answer('influxql', '{"results":[]}')() }),
      removeClient: async () => {
        reached.push('removeClient')
        return { isKnown: true, topics: [], readings: 0 }
      },
      removeDescribed: async () => ({ isKnown: false, topics: [], readings: 0 }),
      tryMapping: answer('tryMapping', '{"outcome":"nothing","points":[]}'),
      checkRule: answer('checkRule', '{"mistakes":[],"messages":[]}'),
      inbox: answer('inbox', '{"topics":0,"groups":[],"more":0}'),
      noise: answer('noise', '{"rows":[]}'),
      dead: answer('dead', '{"dead":[]}'),
      balance: answer('balance'),
      spool: async () => {
        reached.push('spool')
        return { bytes: 0, limit: 1, keptBytes: 0, segments: [], cursors: [] }
      },
      outlets: async () => {
        reached.push('outlets')
        return []
      },
      pauseOutlet: async () => void reached.push('pauseOutlet'),
      begin: async ({ kind }) => reached.push(kind),
      progress: async () => ({ done: 0, stored: 0, dropped: 0, kept: 0, finished: true }),
      cancel: async () => {},
      changeSeries: async () => true,
      alerts: answer('alerts', '{"alerts":[],"count":0,"mutes":[]}'),
      acknowledge: async ({ alert, by }) => {
        reached.push('acknowledge')
        return { alert, by, state: 'acknowledged', at: 0 }
      },
      muteAlerts: async ({ by }) => {
        reached.push('muteAlerts')
        return { id: '1', by, since: 0 }
      },
      unmuteAlerts: async id => {
        reached.push('unmuteAlerts')
        return { id, by: '', since: 0 }
      },
      alertRules: answer('alertRules', '{"rules":[],"mistakes":[],"counts":{}}'),
      putAlertRule: async ({ name }) => {
        reached.push('putAlertRule')
        return { name, severity: 'info', source: 'api', enabled: true, watched: 0, firing: 0, definition: {} }
      },
      removeAlertRule: async () => {
        reached.push('removeAlertRule')
      },
      checkAlertRule: async () => {
        reached.push('checkAlertRule')
        return { mistakes: [], count: 0, selected: [] }
      },
      testAlertRule: answer('testAlertRule'),
      openFeed: async () => 1,
      nextOfFeed: async () => ({ items: [], end: { sequence: 0, series: 0, truncated: false } }),
      notifyTargets: async () => {
        reached.push('notifyTargets')
        return []
      },
      notifyRoutes: async () => [],
      pushState: async () => ({ publicKey: '', subscriptions: [] }),
      subscribePush: async () => '1',
      unsubscribePush: async () => true,
      testTarget: async () => reached.push('testTarget'),
      acknowledgeByToken: async () => ({ acknowledged: 0, by: '' }),
      closeFeed: async () => {},
      commandTopics: async () => [],
      expectReply: async () => undefined,
      find: answer('find', '{"messages":[],"accepted":0}'),
      holdStore: async () => undefined,
      releaseStore: async () => {},
      forgetReplies: async () => {},
    },
    shadows: { ask: async () => ({ status: 404, answer: {} }), namesOf: () => [] },
    publisher: {
      publishDirectly: async (user, messages) => {
        reached.push(`publish ${user} ${messages.length}`)
        return { sequences: messages.map((_, i) => i + 1), isRepeated: false }
      },
    },
    commands: {
      send: async () => Promise.reject(new HubError('overloaded', 'no commands here')),
      find: () => undefined,
      list: () => [],
      cancel: async () => Promise.reject(new HubError('not_found', 'no commands here')),
    },
    packetBytes: 1e6,
    mapping: new NoRules(reached),
    admin: {
      listSessions: () => ({ count: 0, sessions: [] }),
      endSession: () => false,
      removeClient: async () => undefined,
      clearRetained: async () => 0,
      retainedOn: () => undefined,
      listRetained: async () => ({ count: 0, messages: [] }),
      clearRetainedUnder: async () => 0,
      listClients: async () => ({ count: 0, connected: 0, clients: [], talkers: [], slow: [] }),
      disconnect: () => 0,
    },
    origins: options.origins ?? [],
    health: {
      starts: [],
      hubId: 'hub',
      ready: async () => ({ ready: true, dependencies: [{ name: 'the secret place', state: 'up' }] }),
    },
    metrics: {
      text: async () => {
        reached.push('metrics')
        return ''
      },
      contentType: 'text/plain',
    },
    clock: { now: () => now() * 1_000 },
    authority,
    anonymous: false,
    logins,
    pairing: {
      redeem: async code => {
        reached.push(`redeem ${code}`)
        if (code !== 'ABCDEFGHJKMN') return undefined
        return { user: 'thermo', password: 'made', clients: [], publish: ['devices/thermo/#'], read: [] }
      },
      last: () => undefined,
    },
    adminKey,
    proxies: [],
    feeds: {
      open: () => {
        reached.push('feed')
        return { next: async () => undefined, close: () => {} } as unknown as Feed
      },
    },
    auditLog: { dir: join(dir, 'audit') },
    live: { current: loadSettings({}) },
    webSockets: {
      mqttUrl: 'mqtt://0.0.0.0:1883',
      mqttsUrl: undefined,
      upgrade: (_request, socket) => {
        reached.push('upgrade')
        socket.destroy()
      },
    },
    counters: { refuse: reason => void counted.push(reason) },
    log: { info: sentence => said.push(sentence), warn: sentence => t.comment(sentence) },
    audit,
    bans,
    ...options,
  })
  await server.start()
  t.teardown(async () => {
    await server.stop()
    await authority.stop()
    await logins.stop()
  })
  const { port } = server
  const url = `http://127.0.0.1:${port}`
  const request: Guarded['request'] = (path, init) => fetch(url + path, { redirect: 'manual', ...init })
  const post: Guarded['post'] = (path, body, headers) =>
    request(path, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    })
  return {
    url,
    port,
    authority,
    set: async (name, kind, password, rules) => {
      const key = await users.edit(file => putUser(file, name, kind, password, rules))
      const id = key.split('_')[1]
      await eventually(() => authority.user(name)?.keys.some(one => one.id === id), `${name} is known`)
      return key
    },
    remove: async name => {
      await users.edit(file => file.removeUser(name))
      await eventually(() => !authority.user(name), `${name} is gone`)
    },
    logins,
    adminKey,
    bans,
    reached,
    said,
    counted,
    audited,
    request,
    post,
    signIn: async (user, password) => {
      const response = await post('/api/login', { user, password })
      if (response.status !== 204) throw new Error(`not signed in: ${response.status} ${await response.text()}`)
      return (response.headers.get('set-cookie') ?? '').split(';')[0] as string
    },
    raw: text =>
      new Promise((resolve, reject) => {
        const socket = connect(port, '127.0.0.1')
        let received = ''
        socket.on('data', chunk => {
          received += chunk
        })
        socket.on('close', () => resolve(received))
        socket.on('error', error => (received ? resolve(received) : reject(error)))
        socket.write(text)
      }),
  }
}
