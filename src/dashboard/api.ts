/** The hub's HTTP side: what it answers, typed, and its clock. */

export type Value = number | boolean | string
export type SeriesType = 'number' | 'boolean' | 'text'
export type Quality = 'good' | 'late' | 'clock'

/** What a series is: enough to name it and to draw it. Times everywhere on this page: milliseconds since the epoch. */
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
}

export interface HistoryRequest {
  readonly series: string
  readonly from: number
  readonly to: number
  readonly points: number
  readonly fn: 'mean' | 'min' | 'max' | 'last'
}

/** An answer that is not 2xx; `message` is the hub's own sentence. */
export class ApiError extends Error {
  readonly status: number
  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}

let skew = 0

/** Now by the hub's clock: the ages must be right on a phone whose own clock is not. */
export function hubNow(): number {
  return Date.now() - skew
}

export async function fetchSeries(): Promise<readonly SeriesRow[]> {
  return (await get<{ series: SeriesRow[] }>('/api/series')).series
}

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

/** Not ready is an answer too (503 with the same body), so the status is not looked at. */
export async function fetchDependencies(): Promise<readonly Dependency[]> {
  const response = await fetch('/readyz', { cache: 'no-store' })
  const body = (await response.json()) as { dependencies?: Dependency[] }
  return body.dependencies ?? []
}

async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  const response = await fetch(path, {
    cache: 'no-store',
    headers: { accept: 'application/json' },
    signal: signal ?? AbortSignal.timeout(15_000),
  })
  readClock(response)
  if (response.ok) return (await response.json()) as T
  const body = (await response.json().catch(() => ({}))) as { message?: string }
  throw new ApiError(response.status, body.message ?? `The hub answered ${response.status}.`)
}

/** The Date header has whole seconds: anything under two is not taken for a wrong clock. */
function readClock(response: Response): void {
  const date = Date.parse(response.headers.get('date') ?? '')
  if (Number.isNaN(date)) return
  const difference = Date.now() - date - 500
  skew = Math.abs(difference) > 2000 ? difference : 0
}
