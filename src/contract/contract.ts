import { administration } from './administration.js'
import { alertRoutes } from './alerts.js'
import { backups } from './backup.js'
import { boards } from './boards.js'
import { clients, imposedBan } from './clients.js'
import { type command, commands } from './commands.js'
import { data } from './data.js'
import { explore, mapped, messageProperties } from './explore.js'
import { find } from './find.js'
import { home, type homeControl, type homeDevice, type homeValue } from './home.js'
import { jobProgress, progressDescription } from './jobs.js'
import { mapping } from './mapping.js'
import { notifyRoutes } from './notify.js'
import { balance, readiness, spool, store } from './operation.js'
import { outletRoutes } from './outlets.js'
import { pastRoutes } from './past.js'
import { publish } from './publish.js'
import {
  array,
  boolean,
  closed,
  constant,
  integer,
  number,
  object,
  optional,
  record,
  type Schema,
  type Static,
  said,
  string,
  union,
  type Validated,
  withDefault,
  words,
} from './schema.js'
import { shadows } from './shadows.js'
import { shares } from './shares.js'
import { userKinds, users } from './users.js'

/*
 * The HTTP API, each question declared once: method and path, who may ask, what is asked and what is answered. The
 * hub's routes are validated by these schemas, /api/openapi.json is made from them, and the types of the routes, of the
 * commands and of the dashboard are theirs. Commands and dashboard import the types only.
 *
 * Times are milliseconds since the epoch, unless a description says otherwise.
 */

export { type BoardEdits, boardsFile } from './boards.js'

/** Callers that a route is for. The default is `read`. */
export type Allow =
  /** All callers, without authentication. */
  | 'anyone'
  /** Dashboards, services and admins. The route itself limits what they see. */
  | 'read'
  /** Dashboards, services and admins that may read `#` entirely. */
  | 'everything'
  /** Admins. */
  | 'change'

/** The declaration of a route. */
export interface Route {
  readonly summary: string
  readonly description?: string
  readonly allow?: Allow
  /** The parts of the path that begin with a colon. */
  readonly params?: Schema
  readonly query?: Schema
  readonly body?: Schema
  /** The body of an answer with status 200; without, the answer is 204 and has no body. */
  readonly answer?: Schema
  /** True when pages of other origins may not ask: the route is about cookies and sign-in. */
  readonly isForOwnPages?: boolean
  /** Set when the answer goes on: lines of JSON, each of which `answer` describes, or Server-Sent Events. */
  readonly isStream?: 'lines' | 'events'
  /** Why a request may be refused, by status, beside the reasons that all routes have. */
  readonly problems?: Readonly<Record<number, string>>
  /** Other statuses with the same answer. */
  readonly alsoAs?: readonly number[]
}

/** The answer of every request that fails. */
export const problem = object({
  error: string('A stable word for programs, such as not_found'),
  message: string('A sentence for people: what was given, what is allowed'),
  said: optional(said),
  index: optional(integer('Of a request with several messages: the first that is refused')),
  kept: optional(
    array(object({ index: integer(), sequence: integer() }), 'Messages that are published although another is not'),
  ),
})

const limit = (most: number, description?: string) =>
  withDefault(integer(description, { minimum: 1, maximum: 100_000 }), most)

/** Times up to the year 10000, which every store can hold. */
const instant = (description: string) => number(description, { minimum: 0, maximum: 253_402_300_800_000 })

const value = union([number(), boolean(), string()])

export const aggregates = ['mean', 'min', 'max', 'first', 'last', 'sum', 'count'] as const

const seriesRow = object({
  key: string('Identifies the series, as in /api/history'),
  measurement: string(),
  tags: record(string()),
  field: string(),
  type: words(['number', 'boolean', 'text']),
  unit: optional(string()),
  cleared: optional(constant(true, 'The retained message that the series comes from was cleared')),
  last: object({ time: number(), value }, 'The newest value by time'),
})

const device = object({
  clientId: string(),
  user: string('Empty without a login'),
  online: boolean(),
  since: number('Since when the client is online or offline'),
  lastSeen: number('Time of the last publish; 0: none'),
  messages: integer(),
  clockError: optional(
    number('Milliseconds by which a clock of the client is wrong, negative when it is behind; left out while none is'),
  ),
  clockTopic: optional(string('Topic of the newest message with a wrong time')),
})

/** A device as it describes itself, or as its gateway does. */
const describedDevice = object({
  source: string('The preset that read the description'),
  id: string(),
  name: optional(string()),
  area: optional(string()),
  model: optional(string()),
  manufacturer: optional(string()),
  version: optional(string()),
  entities: array(
    object({
      topic: string('Topic of the readings'),
      field: string('Field of the readings'),
      name: optional(string()),
      unit: optional(string()),
      deviceClass: optional(string('What is measured, in the words of Home Assistant')),
      precision: optional(number('Digits behind the point that mean something')),
      commandTopic: optional(string('Topic for commands')),
    }),
  ),
})

const deadLetter = object({
  id: string(),
  reason: string('A stable word'),
  detail: string('A sentence for people'),
  partly: optional(constant(true, 'Some values of the message are stored')),
  failedAt: number(),
  attempts: integer(),
  topic: string(),
  clientId: string(),
  user: string(),
  qos: integer(),
  retain: boolean(),
  sequence: integer(),
  receivedAt: number(),
  payload: string('Base64'),
  ...messageProperties,
})

const letterFilter = {
  id: optional(string('One letter, by the id that the list shows')),
  outlet: optional(string('The dead letters of this outlet; left out: those that could not be stored')),
  reason: optional(string()),
  device: optional(string('Client id')),
  topic: optional(string('Topic filter')),
  from: optional(instant('When the message failed: included')),
  to: optional(instant('Not included')),
}

const lettersMoved = { ...letterFilter, all: optional(constant(true, 'All letters')) }

const sessionFilter = {
  client: optional(string('Client id')),
  user: optional(string('User name; empty for sessions without a login')),
}

const listedSession = object({
  clientId: string(),
  user: string(),
  connected: boolean(),
  kept: boolean('Whether the session outlives the connection'),
  absentSince: optional(number('When the client left; left out while it is connected')),
  expiry: optional(number('Seconds that the session is kept without a connection; left out: no limit')),
  subscriptions: integer(),
  queued: integer('Messages to be sent or to be acknowledged'),
  queuedBytes: integer('Bytes of the messages to be sent'),
})

const login = object({
  id: string(),
  user: string(),
  began: number(),
  used: number('Time of the last use'),
  expires: number(),
  address: string('Address of the browser at the login; empty for a login of an older version'),
  agent: string('User-Agent of the browser at the login'),
  current: boolean('Whether this is the login of the caller'),
})

const seriesChange = 'With DuckDB only: InfluxDB cannot change a series.'

const userKind = words(userKinds)

export const routes = {
  'GET /healthz': {
    summary: 'Whether the process answers',
    allow: 'anyone',
    answer: object({ healthy: constant(true) }),
  },
  'GET /readyz': {
    summary: 'Whether publishes are accepted (200) or refused (503)',
    description:
      'Callers that are not authenticated see `ready` only. `restoring` is there while a start still restores kept sessions and retained messages: publishes are accepted, and clients that need what is being restored wait.',
    allow: 'anyone',
    answer: readiness,
    alsoAs: [503],
  },
  'GET /api/starts': {
    summary: 'When the hub was started, the oldest first: the last 200 times, this one included',
    answer: object({ starts: array(number('Milliseconds')) }),
  },
  'GET /api/hubs': {
    summary: 'The hubs of the cluster that are known, the one that answers first; none without cluster.name',
    allow: 'everything',
    answer: object({
      hubs: array(
        object({
          id: string(),
          version: string(),
          address: string('Address for people'),
          startedAt: number('Milliseconds'),
          state: words(['self', 'up', 'silent', 'away']),
          heardAt: number('Milliseconds'),
          lag: integer('Messages that other hubs do not have yet'),
        }),
      ),
    }),
  },
  'GET /api/series': {
    summary: 'A page of the series, each with its newest value; `next` is there when there are more',
    query: object({
      limit: limit(10_000),
      after: optional(string('`next` of the page before')),
      search: optional(string('Only series whose names contain all these words', { maxLength: 500 })),
    }),
    answer: object({ series: array(seriesRow), next: optional(string()) }),
  },
  'POST /api/series/rename': {
    summary: 'Gives a series another measurement, other tags or another field; its readings stay',
    description: seriesChange,
    allow: 'change',
    body: closed({ series: string('A key from /api/series'), to: string('The new key') }),
    answer: object({ changed: constant(true) }),
  },
  'POST /api/series/drop': {
    summary: 'Deletes a series with all its readings',
    description: seriesChange,
    allow: 'change',
    body: closed({ series: string('A key from /api/series') }),
    answer: object({ changed: constant(true) }),
  },
  'POST /api/series/retype': {
    summary: 'Gives the field of a series another type, and replays the dead letters of type conflicts',
    description: `Values that can be converted are; the others go to the field beside, such as value_str. ${seriesChange}`,
    allow: 'change',
    body: closed({ series: string('A key from /api/series'), type: words(['number', 'boolean', 'text']) }),
    answer: object({
      changed: constant(true),
      replayed: boolean('False: another job was under way, so the dead letters are still to be replayed'),
    }),
  },
  'GET /api/history': {
    summary: 'The readings of one series, or one value per window when there are more than `points`',
    query: object({
      series: string('A key from /api/series'),
      from: optional(instant('Included; default: an hour before `to`')),
      to: optional(instant('Not included; default: now')),
      points: limit(500),
      fn: withDefault(words(aggregates), 'mean'),
    }),
    answer: object({
      times: array(number()),
      values: array(value),
      window: optional(
        number('Milliseconds of one window, stamped with its start. Left out: the values are the readings as stored'),
      ),
    }),
  },
  ...data,
  'POST /api/publish': publish,
  ...commands,
  'GET /api/live': {
    summary: 'Newest values, history and then every reading of some topics, as Server-Sent Events',
    description:
      'Events: `values` (the newest reading of a topic, as in $hub/last), `history` (columns of one series), `ready`, ' +
      '`live` (one message), `cleared` (a topic without a newest reading), `gap`, and for a receiver that is too slow `behind` and `caught_up`. The id of an event is ' +
      'the sequence number of the message; a request with Last-Event-ID continues there, or begins with a `gap`.',
    query: object({
      topic: union([string(), array(string())], 'Topic filter; may be given up to 16 times'),
      history: optional(string('A time such as 6h; default: no history')),
      points: withDefault(integer('Most values of each series', { minimum: 1, maximum: 10_000 }), 300),
      series: optional(union([string(), array(string())], 'Key of a series; up to 16, which alone have history')),
      after: optional(integer('Continues behind this sequence number, as Last-Event-ID does', { minimum: 0 })),
    }),
    answer: string(),
    isStream: 'events',
  },
  'GET /api/devices': {
    summary: 'MQTT clients: online or not, and when they last published; and the devices that discovery describes',
    answer: object({ devices: array(device), described: array(describedDevice) }),
  },
  'DELETE /api/devices': {
    summary: 'Removes a device that is gone: its newest readings and retained messages. Stored readings stay',
    description:
      'With `client`, a client: also its session and queue, its presence and its refusals; it must not be connected. ' +
      'With `source` and `id`, a device that discovery describes.',
    allow: 'change',
    problems: { 404: 'There is no such device', 409: 'The client is connected' },
    query: closed({
      ...sessionFilter,
      source: optional(string('The preset that read the description')),
      id: optional(string('Id of the described device')),
    }),
    answer: object({
      readings: integer('Topics of which the newest reading was removed'),
      retained: integer('Retained messages that were cleared'),
    }),
  },
  ...shadows,
  'POST /api/map/try': {
    summary: 'What the mapping makes of a message, without storing anything',
    allow: 'everything',
    body: closed({ topic: string(), payload: string('In base64') }),
    answer: object({
      ...mapped,
      described: optional(array(describedDevice)),
    }),
  },
  'GET /api/dead': {
    summary: 'Messages that could not be stored, or that an outlet has refused, with the reason, the newest first',
    allow: 'everything',
    query: closed({ ...letterFilter, limit: limit(100) }),
    answer: object({ dead: array(deadLetter) }),
  },
  'POST /api/dead/replay': {
    summary: 'Handles dead letters again, after a fix; those that are stored now are removed',
    description: progressDescription,
    allow: 'change',
    body: closed(lettersMoved),
    answer: jobProgress,
    isStream: 'lines',
  },
  'POST /api/dead/drop': {
    summary: 'Deletes dead letters',
    description: progressDescription,
    allow: 'change',
    body: closed(lettersMoved),
    answer: jobProgress,
    isStream: 'lines',
  },
  'GET /api/balance': {
    summary: 'The outcome of everything received: in total, by hour, and by device and hour',
    description:
      '`received` is the sum of `stored`, `spool`, `queue`, `dead`, `dropped`, `refused` and `residual`, which should ' +
      'be 0. `lost` is no term of the sum: messages that incidents (see /readyz) report as lost.',
    allow: 'everything',
    query: closed({
      hours: withDefault(integer(undefined, { minimum: 1, maximum: 2_160 }), 24),
      device: optional(string('Client id: only its rows')),
      limit: limit(1_000, 'Rows of devices'),
    }),
    answer: balance,
  },
  'GET /api/store': {
    summary: 'How large the store is, what it will need, and what was deleted from it',
    allow: 'everything',
    query: closed({
      keep: optional(
        string('Times to compute the forecast with, such as raw=90d,1m=2y, in place of store.keep', { maxLength: 200 }),
      ),
    }),
    answer: store,
  },
  'GET /api/spool': {
    summary: 'The segments of the spool, and the positions of its readers',
    allow: 'everything',
    answer: spool,
  },
  'POST /api/spool/replay': {
    summary:
      'Handles messages again that the spool (spool.keep) and the archive (spool.archive) have, as under a new mapping',
    description: progressDescription,
    allow: 'change',
    body: closed({
      from: instant('When the message was received: included'),
      to: optional(instant('Not included; default: now')),
      topic: optional(string('Topic filter; default: all topics')),
    }),
    answer: jobProgress,
    isStream: 'lines',
  },
  'POST /api/mapping/diff': {
    summary: 'What other rules of the hub would have made of the messages that spool and archive have; stores nothing',
    description: `${progressDescription} With the last one comes \`diff\`.`,
    allow: 'change',
    body: closed({
      rules: array({} as Schema, 'Instead of those that the hub keeps itself, as in POST /api/mapping'),
      from: instant('When the message was received: included'),
      to: optional(instant('Not included; default: now')),
      topic: optional(string('Topic filter; default: all topics')),
    }),
    answer: jobProgress,
    isStream: 'lines',
  },
  ...pastRoutes,
  ...backups,
  ...find,
  ...notifyRoutes,
  ...outletRoutes,
  ...alertRoutes,
  ...home,
  ...boards,
  ...shares,
  ...explore,
  ...mapping,
  ...clients,
  ...users,
  ...administration,
  'GET /api/sessions': {
    summary: 'Sessions of MQTT clients: those that are kept, and those that are connected',
    description: '`count` is how many there are, also beyond `limit`.',
    allow: 'everything',
    query: closed({ ...sessionFilter, limit: limit(1_000) }),
    answer: object({ count: integer(), sessions: array(listedSession) }),
  },
  'DELETE /api/sessions': {
    summary: 'Ends a session and deletes its queue; its client is disconnected, and its will is published',
    allow: 'change',
    problems: { 404: 'There is no such client', 409: 'Several users have such a client' },
    query: closed({ ...sessionFilter, client: string('Client id') }),
    answer: object({ ended: boolean() }),
  },
  'POST /api/login': {
    summary: 'Signs a browser in: 204 and a cookie',
    isForOwnPages: true,
    allow: 'anyone',
    body: closed({
      user: string(undefined, { maxLength: 64 }),
      // No person types a longer one, and scrypt takes time for each.
      password: string(undefined, { maxLength: 1_024 }),
    }),
  },
  'POST /api/logout': { summary: 'Ends the login of the cookie', allow: 'anyone', isForOwnPages: true },
  'GET /api/session': {
    summary: 'The user of the caller, and whether the caller may change something (replay, drop)',
    answer: object({
      auth: words(
        ['open', 'anonymous', 'required'],
        '`open`: no login; `anonymous`: no login, though other machines reach the hub; `required`: login',
      ),
      user: string(),
      kind: userKind,
      mayChange: boolean(),
      share: optional(
        object({ board: string(), expires: number() }, 'Of a visitor by a link, who sees that board alone, until then'),
      ),
    }),
  },
  'POST /api/session/token': {
    summary: 'User name and password for an MQTT connection of a page, for five minutes; empty without a login',
    isForOwnPages: true,
    description:
      'Each call extends the connections of this login: they are closed a minute after `expires`, unless it is called again.',
    answer: object({ username: optional(string()), password: optional(string()), expires: optional(number()) }),
  },
  'POST /api/pair': {
    summary: 'Exchanges a pairing code (telehub device pair) for the credentials of a device, once',
    isForOwnPages: true,
    allow: 'anyone',
    body: closed({ code: string(undefined, { maxLength: 64 }) }),
    answer: object({
      user: string(),
      password: string(),
      clients: array(string(), 'Client ids'),
      publish: array(string(), 'Topic filters'),
      read: array(string(), 'Topic filters'),
      addresses: array(string(), 'MQTT under the name by which the caller reaches the hub, with TLS first'),
    }),
  },
  'GET /api/logins': {
    summary: 'Logins of browsers: all of them for an admin, otherwise those of the user who asks',
    answer: object({ logins: array(login) }),
  },
  'POST /api/logins/end': {
    summary: 'Ends logins: their cookies and connections. Only an admin may end those of others',
    body: closed(
      {
        id: optional(string('One login, as the list shows it', { maxLength: 100 })),
        user: optional(string('All logins of a user', { maxLength: 64 })),
        others: optional(constant(true, 'All logins of the user who asks, except the login that asks')),
      },
      { minProperties: 1, maxProperties: 1 },
    ),
    answer: object({ ended: integer() }),
  },
  'GET /api/bans': {
    summary: 'Sources that are banned now (auth.ban), the latest first',
    allow: 'change',
    answer: object({
      bans: array(
        object({
          source: string('An IPv4 address, or the first 64 bits of IPv6 addresses'),
          since: number(),
          until: number(),
          times: integer('Number of bans of this source so far'),
        }),
      ),
      imposed: array(imposedBan, 'Bans that administrators have imposed'),
    }),
  },
  'POST /api/bans/lift': {
    summary: 'Ends a ban',
    allow: 'change',
    body: closed({
      source: string('As the list shows it, or an address', { maxLength: 65_535 }),
      kind: optional(words(['client', 'user', 'address'], 'Of a ban that an administrator has imposed')),
    }),
    answer: object({ lifted: string() }),
  },
} as const satisfies Readonly<Record<`${'GET' | 'POST' | 'PATCH' | 'DELETE'} /${string}`, Route>>

type Routes = typeof routes
export type RouteName = keyof Routes

type QuerySchema<Name extends RouteName> = Routes[Name] extends { readonly query: infer S } ? S : never
type BodySchema<Name extends RouteName> = Routes[Name] extends { readonly body: infer S } ? S : never
/** The query of a route that has both: such a route reads its body by itself. */
type InputSchema<Name extends RouteName> = [QuerySchema<Name>] extends [never] ? BodySchema<Name> : QuerySchema<Name>
type SentSchema<Name extends RouteName> = [BodySchema<Name>] extends [never] ? QuerySchema<Name> : BodySchema<Name>

type ParamsOf<Name extends RouteName> = Routes[Name] extends { readonly params: infer S } ? Static<S> : Empty

/** Values that a caller sends: the parts of the path, and the body, or the query of a route that has none. */
export type Asked<Name extends RouteName> = ParamsOf<Name> &
  ([SentSchema<Name>] extends [never] ? Empty : Static<SentSchema<Name>> & object)

/** What a route receives: parts of the path, and query or body, validated, with the defaults filled in. */
export type Received<Name extends RouteName> = ParamsOf<Name> &
  ([InputSchema<Name>] extends [never] ? Empty : Validated<InputSchema<Name>>)

/** The answer to a question. For a stream: each line. */
export type Answer<Name extends RouteName> = Routes[Name] extends { readonly answer: infer S } ? Static<S> : undefined

type Empty = Readonly<Record<never, never>>

declare const encoded: unique symbol

/** JSON in UTF-8 of a value of this type. */
export type Json<Value> = Uint8Array & { readonly [encoded]?: Value }

export function encodeJson<Value>(value: Value): Json<Value> {
  return new TextEncoder().encode(JSON.stringify(value))
}

export type CommandRow = Static<typeof command>
export type SeriesRow = Static<typeof seriesRow>
export type DeviceRow = Static<typeof device>
export type HomeDevice = Static<typeof homeDevice>
export type HomeValue = Static<typeof homeValue>
export type HomeControl = Static<typeof homeControl>
export type DeadLetterRow = Static<typeof deadLetter>
export type JobProgress = Static<typeof jobProgress>
export type Readiness = Static<typeof readiness>
