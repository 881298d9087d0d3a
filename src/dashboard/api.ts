/** The HTTP API of the hub, with typed answers, and the clock of the hub. */

export type Value = number | boolean | string
export type SeriesType = 'number' | 'boolean' | 'text'
export type Quality = 'good' | 'late' | 'clock'

/** Name and type of a series, as needed for drawing. Times everywhere on this page: milliseconds since the epoch. */
export interface SeriesInfo {
  readonly key: string
  readonly measurement: string
  readonly tags: Readonly<Record<string, string>>
  readonly field: string
  readonly type: SeriesType
  readonly unit?: string
}

export interface SeriesRow extends SeriesInfo {
  readonly last?: { readonly time: number; readonly value: Value }
}

export interface Columns {
  readonly times: readonly number[]
  readonly values: readonly Value[]
}

export interface DeviceRow {
  readonly clientId: string
  readonly user: string
  readonly online: boolean
  readonly since: number
  readonly lastSeen: number
  readonly messages: number
}

export interface Dependency {
  readonly name: string
  readonly state: 'up' | 'down' | 'starting'
  readonly detail?: string
  readonly since?: number
  /** Time of the next try. */
  readonly retryAt?: number
}

/** State of the hub. A hub that keeps no balance sends neither `waiting` nor `alarms`. */
export interface Ready {
  readonly dependencies: readonly Dependency[]
  readonly waiting?: readonly { readonly consumer: string; readonly target: string; readonly detail: string }[]
  readonly alarms?: readonly { readonly name: string; readonly detail: string }[]
}

/** Fate of the received messages: all but `received` and `residual` add up to `received`, less `residual`. */
export interface Counts {
  readonly received: number
  readonly stored: number
  readonly dead: number
  readonly dropped: number
  readonly refused: number
  readonly residual: number
  /** Messages in `dead` of which some values are stored. */
  readonly partly: number
}

export interface HourRow extends Counts {
  readonly hour: number
  /** Messages in the spool or the queue. */
  readonly waiting: number
}

export interface DeviceHourRow extends HourRow {
  readonly clientId: string
}

export interface Balance extends Counts {
  readonly since: number
  readonly spool: number
  readonly queue: number
  readonly reasons: {
    readonly dead: Readonly<Record<string, number>>
    readonly refused: Readonly<Record<string, number>>
  }
  readonly hours: readonly HourRow[]
  readonly devices: readonly DeviceHourRow[]
}

export interface DeadLetter {
  readonly id: string
  readonly reason: string
  readonly detail: string
  readonly failedAt: number
  readonly attempts: number
  readonly topic: string
  readonly clientId: string
  readonly user: string
  readonly qos: number
  readonly retain: boolean
  readonly sequence: number
  readonly receivedAt: number
  /** Base64. */
  readonly payload: string
}

/** Selects the dead letters that match all given fields. */
export interface DeadFilter {
  readonly id?: string
  readonly reason?: string
  readonly device?: string
}

/** Progress of a replay or a drop. */
export interface JobProgress {
  readonly done: number
  readonly stored: number
  readonly dropped: number
  /** Letters that are still dead letters. */
  readonly kept: number
  readonly finished: boolean
}

/** User and rights of this page, as the hub reports them. */
export interface Session {
  /** `open`: no login; `anonymous`: no login, though other machines reach the hub; `required`: login for every user. */
  readonly auth: 'open' | 'anonymous' | 'required'
  readonly user: string
  readonly kind: string
  /** Whether this page may replay and drop dead letters. */
  readonly mayChange: boolean
}

/** A signed-in browser. */
export interface LoginRow {
  readonly id: string
  readonly user: string
  readonly began: number
  readonly used: number
  /** Address and User-Agent of the browser at the login; empty where the hub does not know them. */
  readonly address: string
  readonly agent: string
  /** Whether this is the login of this page. */
  readonly current: boolean
}

/** User name and password for MQTT. Both are undefined where the hub asks for no login. */
export interface Credentials {
  readonly username?: string
  readonly password?: string
  /** Time by which the password has to be renewed, by the hub's clock. */
  readonly expires?: number
}

export interface HistoryRequest {
  readonly series: string
  readonly from: number
  readonly to: number
  readonly points: number
  readonly fn: 'mean' | 'min' | 'max' | 'last'
}

/** An answer that is not 2xx; `message` is the sentence of the hub. */
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
  return get<Session>('/api/session').catch((error: unknown) => {
    if (!(error instanceof ApiError) || error.status !== 404) throw error
    return { auth: 'open', user: '', kind: '', mayChange: true }
  })
}

/**
 * Fetches credentials for the next MQTT connection. Every call also extends those of the open connections of this
 * login.
 */
export async function fetchCredentials(): Promise<Credentials> {
  try {
    return (await (await post('/api/session/token', {}, AbortSignal.timeout(8000))).json()) as Credentials
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return {}
    throw error
  }
}

/** Fetches the logins, the last used first; for an admin those of all users. */
export async function fetchLogins(): Promise<readonly LoginRow[]> {
  return (await get<{ logins: LoginRow[] }>('/api/logins')).logins
}

/** Ends one login, or all of this user but the one of this page. Resolves with the number of ended logins. */
export async function endLogins(which: { readonly id: string } | { readonly others: true }): Promise<number> {
  const answer = await post('/api/logins/end', which, AbortSignal.timeout(8000))
  return ((await answer.json()) as { ended: number }).ended
}

/** Ends the login, and goes to the login page. Rejects when the hub did not receive the request. */
export async function signOut(): Promise<void> {
  // From now on the hub answers pending requests with 401.
  leaving = true
  try {
    await post('/api/logout', {}, AbortSignal.timeout(8000))
  } catch (error) {
    leaving = false
    if (!(error instanceof ApiError) || error.status !== 401) throw error
  }
  location.replace('/login')
}

/** Reloads the page, so that nothing stays of what was shown. */
export function reload(): void {
  if (leaving) return
  leaving = true
  location.reload()
}

/** Goes to the login page, which leads back here afterwards. */
function signIn(): void {
  if (leaving) return
  leaving = true
  const here = location.pathname + location.search + location.hash
  location.replace(`/login?${new URLSearchParams({ next: here })}`)
}

/** Fetches the series page by page, at most `mostSeries`: a screen has no use for more. */
export async function fetchSeries(): Promise<readonly SeriesRow[]> {
  const rows: SeriesRow[] = []
  let after: string | undefined
  do {
    const query: string = after === undefined ? '' : `?${new URLSearchParams({ after })}`
    const page = await get<{ series: SeriesRow[]; next?: string }>(`/api/series${query}`)
    rows.push(...page.series)
    after = page.next
  } while (after !== undefined && rows.length < mostSeries)
  return rows
}

const mostSeries = 20_000

export async function fetchDevices(): Promise<readonly DeviceRow[]> {
  return (await get<{ devices: DeviceRow[] }>('/api/devices')).devices
}

export async function fetchHistory(request: HistoryRequest, signal?: AbortSignal): Promise<Columns> {
  const query = new URLSearchParams({
    series: request.series,
    from: String(Math.floor(request.from)),
    to: String(Math.ceil(request.to)),
    points: String(request.points),
    fn: request.fn,
  })
  return get<Columns>(`/api/history?${query}`, signal)
}

/** Fetches the state of the hub. The status is ignored, as a hub that is not ready sends the same body with 503. */
export async function fetchReady(): Promise<Ready> {
  const response = await fetch('/readyz', { cache: 'no-store', signal: AbortSignal.timeout(15_000) })
  const body = (await response.json()) as Partial<Ready>
  return { ...body, dependencies: body.dependencies ?? [] }
}

/** Fetches the balance with the last `hours`; with `device` the rows of that device only. */
export async function fetchBalance(hours: number, limit: number, device?: string): Promise<Balance> {
  const query = new URLSearchParams({ hours: String(hours), limit: String(limit), ...(device && { device }) })
  return get<Balance>(`/api/balance?${query}`)
}

/** Fetches dead letters, the newest first. */
export async function fetchDead(filter: DeadFilter, limit: number): Promise<readonly DeadLetter[]> {
  const query = new URLSearchParams({ ...filter, limit: String(limit) })
  return (await get<{ dead: DeadLetter[] }>(`/api/dead?${query}`)).dead
}

/**
 * Replays dead letters, or drops them for good. Calls `progress` meanwhile; resolves with the final state, rejects when
 * the job broke off before the end. A caller that stops waiting ends the job.
 */
export async function moveDead(
  kind: 'replay' | 'drop',
  filter: DeadFilter,
  progress: (progress: JobProgress) => void,
): Promise<JobProgress> {
  const response = await post(`/api/dead/${kind}`, filter)
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
      if (error !== undefined) throw new ApiError(500, error)
      last = { ...last, ...said }
      progress(last)
    }
  }
  if (!last.finished) throw new ApiError(502, 'The answer broke off; what was done by then stays done.')
  return last
}

async function post(path: string, body: unknown, signal?: AbortSignal): Promise<Response> {
  const response = await fetch(path, {
    method: 'POST',
    cache: 'no-store',
    headers: { accept: 'application/x-ndjson, application/json', 'content-type': 'application/json' },
    body: JSON.stringify(body),
    ...(signal && { signal }),
  })
  return checked(response)
}

async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  const response = await fetch(path, {
    cache: 'no-store',
    headers: { accept: 'application/json' },
    signal: signal ?? AbortSignal.timeout(15_000),
  })
  return (await checked(response)).json() as Promise<T>
}

/** Resolves with the same response when the status is 2xx. Otherwise rejects with the sentence of the hub. */
async function checked(response: Response): Promise<Response> {
  readClock(response)
  if (response.ok) return response
  if (response.status === 401) signIn()
  const body = (await response.json().catch(() => ({}))) as { message?: string }
  throw new ApiError(response.status, body.message ?? `The hub answered ${response.status}.`)
}

/** Sets the skew by the Date header, which has whole seconds: less than two seconds do not count as a wrong clock. */
function readClock(response: Response): void {
  const date = Date.parse(response.headers.get('date') ?? '')
  if (Number.isNaN(date)) return
  const difference = Date.now() - date - 500
  skew = Math.abs(difference) > 2000 ? difference : 0
}
