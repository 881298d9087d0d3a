/** The HTTP API of the hub, with typed answers, and the clock of the hub. */

import type {
  Answer,
  Asked,
  CommandRow,
  DeadLetterRow,
  DeviceRow,
  JobProgress,
  Readiness,
  RouteName,
  SeriesRow,
} from '../contract/contract.js'
import { forgetState } from './offline/state.js'
import { type Refused, refusalText } from './said/said.js'

export type { CommandRow } from '../contract/contract.js'

export type Value = number | boolean | string
export type SeriesType = SeriesRow['type']
export type Quality = 'good' | 'late' | 'clock' | 'absent'
/** Name and type of a series, as needed for drawing. */
export type SeriesInfo = Omit<SeriesRow, 'last'>
export type Balance = Answer<'GET /api/balance'>
export type HourRow = Balance['hours'][number]
export type DeviceHourRow = Balance['devices'][number]
/** State of the hub, with the dependencies that a page may see. */
export type Ready = Readiness & { readonly dependencies: readonly Dependency[] }
export type Dependency = NonNullable<Readiness['dependencies']>[number]
/** Selects the dead letters that match all given fields. */
export type DeadFilter = Pick<Asked<'GET /api/dead'>, 'id' | 'reason' | 'device' | 'topic'>
/** User and rights of this page, as the hub reports them. */
export type Session = Answer<'GET /api/session'>
/** An alert that is not over. */
export type AlertRow = Answer<'GET /api/alerts'>['alerts'][number]
/** A signed-in browser. */
export type LoginRow = Answer<'GET /api/logins'>['logins'][number]
/** Edits of the screen, boards, and the favourites of this user. */
export type Boards = Answer<'GET /api/boards'>
/** Changes of the edits: members are merged, null removes one. */
export type BoardsPatch = Asked<'PATCH /api/boards'>
/** User name and password for MQTT. Both are undefined where the hub asks for no login. */
export type Credentials = Answer<'POST /api/session/token'>

/** An answer that is not 2xx; `message` says why in the language of the page. */
export class ApiError extends Error {
  readonly status: number
  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}

let skew = 0
let leaving = false

/** Returns the time of the hub's clock, so that ages are right on a phone whose own clock is wrong. */
export function hubNow(): number {
  return Date.now() - skew
}

/** Fetches the session. A version of the hub without users has no such endpoint (404), and asks for no login. */
export async function fetchSession(): Promise<Session> {
  return ask('GET /api/session', {}).catch((error: unknown) => {
    if (!(error instanceof ApiError) || error.status !== 404) throw error
    return { auth: 'open', user: '', kind: 'admin', mayChange: true } as const
  })
}

/**
 * Fetches credentials for the next MQTT connection. Every call also extends those of the open connections of this
 * login.
 */
export async function fetchCredentials(): Promise<Credentials> {
  try {
    return await ask('POST /api/session/token', {})
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return {}
    throw error
  }
}

/** Fetches the logins, the last used first; for an admin those of all users. */
export async function fetchLogins(): Promise<readonly LoginRow[]> {
  return (await ask('GET /api/logins', {})).logins
}

/** Ends one login, or all of this user but the one of this page. Resolves with the number of ended logins. */
export async function endLogins(which: { readonly id: string } | { readonly others: true }): Promise<number> {
  return (await ask('POST /api/logins/end', which)).ended
}

/** Fetches the alerts of a device that are not over. */
export async function fetchAlerts(device: string): Promise<readonly AlertRow[]> {
  return (await ask('GET /api/alerts', { device, limit: 50 })).alerts
}

/** Fetches the alerts that are not over, the newest first, of all devices that this user may see. */
export async function fetchOpenAlerts(): Promise<readonly AlertRow[]> {
  return (await ask('GET /api/alerts', { limit: 500 })).alerts
}

/** Mutes what fits all that is given, until a time in milliseconds. */
export function muteAlert(mute: Asked<'POST /api/alerts/mute'>) {
  return ask('POST /api/alerts/mute', mute)
}

/** Devices that fill any screen, so that a page has something to show before all of them are fetched. */
const firstDevices = 200

/** Answer to the question that `early.ts` asked while the modules were loaded. Undefined when it has been taken. */
const early = globalThis as { firstHome?: Promise<Response | undefined> | undefined }

/** Fetches the first devices with their main values. */
export async function fetchFirstHome(): Promise<Answer<'GET /api/home'>> {
  const begun = early.firstHome
  early.firstHome = undefined
  const response = await begun
  if (response) return (await checked(response)).json() as Promise<Answer<'GET /api/home'>>
  return ask('GET /api/home', { limit: firstDevices })
}

/**
 * Fetches the devices with their main values, at most `mostSeries` of them. Calls `begun`, if given, with the first ones
 * when there are more.
 */
export async function fetchHome(begun?: (first: Answer<'GET /api/home'>) => void): Promise<Answer<'GET /api/home'>> {
  const first = await (begun ? fetchFirstHome() : ask('GET /api/home', {}))
  if (first.next !== undefined) begun?.(first)
  const devices = [...first.devices]
  for (let after = first.next; after !== undefined && devices.length < mostSeries; ) {
    const page: Answer<'GET /api/home'> = await ask('GET /api/home', { after })
    devices.push(...page.devices)
    after = page.next
  }
  return { ...first, devices }
}

/** Fetches one device with all values. */
export async function fetchHomeDevice(device: string): Promise<Answer<'GET /api/home'>['devices'][number] | undefined> {
  return (await ask('GET /api/home', { device, values: 'all' })).devices[0]
}

export function fetchBoards(): Promise<Boards> {
  return ask('GET /api/boards', {})
}

/** Changes the edits of the screen. Rejects with status 412 when they are not those of the revision `match` any more. */
export async function patchBoards(patch: BoardsPatch, match: string): Promise<Boards> {
  return (await send('PATCH /api/boards', patch, undefined, { 'if-match': match })).json() as Promise<Boards>
}

/** Takes the last change back, whoever made it, unless there is another one than `match` has. */
export async function undoBoards(match: string): Promise<Boards> {
  return (await send('POST /api/boards/undo', {}, undefined, { 'if-match': match })).json() as Promise<Boards>
}

export async function setFavourites(devices: readonly string[]): Promise<void> {
  await send('POST /api/boards/favourites', { devices })
}

export type ShareRow = Answer<'GET /api/shares'>['shares'][number]

export async function fetchShares(): Promise<readonly ShareRow[]> {
  return (await ask('GET /api/shares', {})).shares
}

/** Makes a link to a board that ends at a time. Resolves with the path of the link, which is told only here. */
export async function shareBoard(board: string, expires: number): Promise<string> {
  return (await ask('POST /api/shares', { board, expires })).path
}

export async function endShare(id: string): Promise<void> {
  await send('POST /api/shares/end', { id })
}

/** Acknowledges an alert, with a note if it is not empty. */
export function acknowledge(alert: string, note: string) {
  return ask('POST /api/alerts/ack', note === '' ? { alert } : { alert, note })
}

/** Fetches the commands to a client, the newest first. */
export async function fetchCommands(client: string, limit: number): Promise<readonly CommandRow[]> {
  return (await ask('GET /api/commands', { client, limit })).commands
}

/** Sends a command, to one client or to whoever listens. Resolves when the command is on disk. */
export function sendCommand(command: { readonly client?: string; readonly topic: string; readonly payload: string }) {
  return ask('POST /api/commands', command)
}

export async function fetchCommand(id: string): Promise<CommandRow> {
  const signal = AbortSignal.timeout(15_000)
  const response = await fetch(`/api/commands/${encodeURIComponent(id)}`, { cache: 'no-store', signal })
  return (await checked(response)).json() as Promise<CommandRow>
}

export async function cancelCommand(id: string): Promise<void> {
  const method = 'DELETE'
  await checked(await fetch(`/api/commands/${encodeURIComponent(id)}`, { method, signal: AbortSignal.timeout(15_000) }))
}

/** Fetches the key for which this browser subscribes to notifications, and the subscriptions of this user. */
export function fetchPush() {
  return ask('GET /api/notify/push', {})
}

/** Tells the hub of a subscription. Resolves with its id. */
export async function subscribe({ endpoint = '', keys = {} }: PushSubscriptionJSON): Promise<string> {
  const { p256dh = '', auth = '' } = keys
  return (await ask('POST /api/notify/push', { endpoint, keys: { p256dh, auth } })).id
}

export async function endSubscription(id: string): Promise<void> {
  await send('DELETE /api/notify/push', { id })
}

/** Time limit for the end of notifications: a push service that is away must not keep anybody signed in. */
const notificationsMs = 3_000

/** Ends the notifications of this browser, which are those of the user who leaves. */
async function endNotifications(): Promise<void> {
  const registration = await navigator.serviceWorker?.getRegistration('/')
  const subscription = await registration?.pushManager?.getSubscription()
  if (!subscription) return
  // The hub answers a known subscription with the same id.
  await endSubscription(await subscribe(subscription.toJSON()))
  await subscription.unsubscribe()
}

/** Ends the login, and goes to the login page. Rejects when the hub did not receive the request. */
export async function signOut(): Promise<void> {
  await Promise.race([endNotifications().catch(() => {}), new Promise(done => setTimeout(done, notificationsMs))])
  // From now on the hub answers pending requests with 401.
  leaving = true
  try {
    await send('POST /api/logout', {})
  } catch (error) {
    leaving = false
    if (!(error instanceof ApiError) || error.status !== 401) throw error
  }
  await forgetState()
  location.replace('/login')
}

/** Reloads the page, so that nothing stays of what was shown. */
export function reload(): void {
  if (leaving) return
  leaving = true
  void forgetState().finally(() => location.reload())
}

/** Goes to the login page, which leads back here afterwards. */
export function signIn(): void {
  if (leaving) return
  leaving = true
  const here = location.pathname + location.search + location.hash
  void forgetState().finally(() => location.replace(`/login?${new URLSearchParams({ next: here })}`))
}

/** Beginning of the keys of series that hold the history of alerts, which has a page of its own. */
const ofAlerts = 'telehub_alerts,'

/** Fetches the series that are values of devices page by page, at most `mostSeries`: a screen has no use for more. */
export async function fetchSeries(): Promise<readonly SeriesRow[]> {
  const rows: SeriesRow[] = []
  let after: string | undefined
  do {
    const page: Answer<'GET /api/series'> = await ask('GET /api/series', { after })
    rows.push(...page.series.filter(({ key }) => !key.startsWith(ofAlerts)))
    after = page.next
  } while (after !== undefined && rows.length < mostSeries)
  return rows
}

const mostSeries = 20_000

export async function fetchDevices(): Promise<readonly DeviceRow[]> {
  return (await ask('GET /api/devices', {})).devices
}

/** Removes a client that is gone, with its newest readings and its retained messages. */
export function removeDevice({ clientId, user }: Pick<DeviceRow, 'clientId' | 'user'>) {
  return ask('DELETE /api/devices', { client: clientId, user })
}

/** Fetches the state of the hub. The status is ignored, as a hub that is not ready sends the same body with 503. */
export async function fetchReady(): Promise<Ready> {
  const response = await fetch('/readyz', { cache: 'no-store', signal: AbortSignal.timeout(15_000) })
  const body = (await response.json()) as Readiness
  return { ...body, dependencies: body.dependencies ?? [] }
}

/** Fetches the balance with the last `hours`; with `device` the rows of that device only. */
export async function fetchBalance(hours: number, limit: number, device?: string): Promise<Balance> {
  return ask('GET /api/balance', { hours, limit, device: device || undefined })
}

export type OutletRow = Answer<'GET /api/outlets'>['outlets'][number]

export async function fetchOutlets(): Promise<readonly OutletRow[]> {
  return (await ask('GET /api/outlets', {})).outlets
}

/** Pauses an outlet, or lets it go on. */
export async function pauseOutlet(outlet: string, paused: boolean): Promise<void> {
  await ask('POST /api/outlets/pause', { outlet, paused })
}

/** Fetches dead letters, the newest first. */
export async function fetchDead(filter: DeadFilter, limit: number): Promise<readonly DeadLetterRow[]> {
  return (await ask('GET /api/dead', { ...filter, limit })).dead
}

/**
 * Replays dead letters, or drops them for good. Calls `progress` meanwhile; resolves and rejects as {@link runJob} does.
 */
export function moveDead(
  kind: 'replay' | 'drop',
  filter: DeadFilter,
  progress: (progress: JobProgress) => void,
): Promise<JobProgress> {
  return runJob(`POST /api/dead/${kind}`, filter, progress)
}

type JobName =
  | 'POST /api/dead/replay'
  | 'POST /api/dead/drop'
  | 'POST /api/mapping/apply'
  | 'POST /api/mapping/apply/undo'

/**
 * Runs a job of the hub. Calls `progress` meanwhile; resolves with the final state, rejects when the job broke off before
 * the end. A caller that stops waiting ends the job, unless it changes the past. `match`: the ETag that the rules must have.
 */
export async function runJob<Name extends JobName>(
  name: Name,
  asked: Asked<Name>,
  progress: (progress: JobProgress) => void,
  match?: string,
): Promise<JobProgress> {
  // No time limit: the job may take long.
  const response = await send(name, asked, null, match === undefined ? {} : { 'if-match': match })
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader()
  let last: JobProgress = { done: 0, stored: 0, dropped: 0, kept: 0, finished: false }
  let text = ''
  for (let ended = false; !ended; ) {
    const { value = '', done = true } = (await reader?.read()) ?? {}
    ended = done
    const lines = `${text}${value}${ended ? '\n' : ''}`.split('\n')
    text = lines.pop() ?? ''
    for (const line of lines.filter(line => line.trim() !== '')) {
      const { error, ...said } = JSON.parse(line) as Partial<JobProgress> & { error?: string }
      if (error !== undefined) throw new ApiError(500, refusalText({ error: 'internal', message: error }))
      last = { ...last, ...said }
      progress(last)
    }
  }
  if (!last.finished) throw new ApiError(502, refusalText({ error: 'ended' }))
  return last
}

/** Asks a question of the contract. */
export async function ask<Name extends RouteName>(
  name: Name,
  asked: Asked<Name>,
  signal?: AbortSignal,
): Promise<Answer<Name>> {
  return (await send(name, asked, signal)).json() as Promise<Answer<Name>>
}

/** Asks for a change that is refused with 412 when what is changed has another ETag by now. */
export async function askMatching<Name extends RouteName>(
  name: Name,
  asked: Asked<Name>,
  match: string,
  signal?: AbortSignal,
): Promise<Answer<Name>> {
  return (await send(name, asked, signal, { 'if-match': match })).json() as Promise<Answer<Name>>
}

/** Sends what is asked as the body of a POST or PATCH, otherwise in the query. Without a signal there is a time limit. */
async function send<Name extends RouteName>(
  name: Name,
  asked: Asked<Name>,
  signal?: AbortSignal | null,
  headers: Readonly<Record<string, string>> = {},
): Promise<Response> {
  const [method = '', path = ''] = name.split(' ')
  const isPost = method === 'POST' || method === 'PATCH'
  const given = Object.entries(asked).filter(([, value]) => value !== undefined)
  const several = given.flatMap(([name, value]) => [value].flat().map(one => [name, String(one)]))
  const query = new URLSearchParams(several)
  const response = await fetch(isPost || query.size === 0 ? path : `${path}?${query}`, {
    method,
    cache: 'no-store',
    headers: {
      accept: 'application/x-ndjson, application/json',
      ...(isPost && { 'content-type': 'application/json' }),
      ...headers,
    },
    ...(isPost && { body: JSON.stringify(asked) }),
    signal: signal === undefined ? AbortSignal.timeout(isPost ? 8_000 : 15_000) : signal,
  })
  return checked(response)
}

/** Resolves with the same response when the status is 2xx. Otherwise rejects with why the hub refuses. */
async function checked(response: Response): Promise<Response> {
  readClock(response)
  if (response.ok) return response
  if (response.status === 401) signIn()
  const body = (await response.json().catch(() => ({}))) as Refused
  throw new ApiError(response.status, refusalText(body, response.status))
}

/** Sets the skew by the Date header, which has whole seconds: less than two seconds do not count as a wrong clock. */
function readClock(response: Response): void {
  const date = Date.parse(response.headers.get('date') ?? '')
  if (Number.isNaN(date)) return
  const difference = Date.now() - date - 500
  skew = Math.abs(difference) > 2000 ? difference : 0
}
