import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

export type Unit = '/s' | 'ms' | 'B'

/** One figure of every candidate, from the same run. A candidate that failed, or was left out, has none. */
export interface Row {
  readonly name: string
  readonly unit: Unit
  readonly telehub?: number
  /** Mosquitto. */
  readonly rival?: number
  /** The least Node can do: see floor.ts. */
  readonly floor?: number
  /** telehub to rival. */
  readonly ratio?: number
  /** In words; a row without one is there to see how cost grows. */
  readonly target?: string
  readonly reached?: boolean
  /** Anything about telehub's figure that must be known to understand it. */
  readonly note?: string
  /** Processor time in parts of one core while it was measured: of the server and of the load generator. */
  readonly cpu: Readonly<Partial<Record<'telehub' | 'rival' | 'floor', { server: number; generator: number }>>>
}

export interface Results {
  /** ISO 8601. */
  readonly date: string
  readonly machine: { readonly cores: number; readonly cpu: string; readonly memoryBytes: number }
  readonly versions: { readonly telehub: string; readonly mosquitto: string; readonly node: string }
  /** How long each candidate was measured in each row. */
  readonly seconds: number
  readonly rows: readonly Row[]
}

/** In the sources, not in what is compiled from them: it is committed. */
export const resultsFile = fileURLToPath(new URL('../../../test/bench/results.json', import.meta.url))

export function readResults(): Results {
  return JSON.parse(readFileSync(resultsFile, 'utf8')) as Results
}

export function figure(value: number | undefined, unit: Unit): string {
  if (value === undefined) return '—'
  if (unit === '/s') return `${Math.round(value).toLocaleString('en')}/s`
  if (unit === 'B') return `${(value / 1_000).toFixed(1)} KB`
  return `${value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0)} ms`
}

/** telehub against its rival: a factor; for times what it takes longer. */
export function comparison({ unit, telehub, rival, ratio }: Row): string {
  if (telehub === undefined || rival === undefined || ratio === undefined) return ''
  const difference = telehub - rival
  return unit === 'ms' ? `${difference < 0 ? '−' : '+'}${figure(Math.abs(difference), unit)}` : `${ratio.toFixed(2)} ×`
}

export const verdict = ({ reached }: Row): string => (reached === undefined ? '' : reached ? 'reached' : 'missed')

/** The benchmarks part of the README. */
export function resultsMarkdown({ date, machine, versions, seconds, rows }: Results): string {
  const line = (row: Row) =>
    [
      row.note ? `${row.name} (${row.note})` : row.name,
      figure(row.telehub, row.unit),
      figure(row.rival, row.unit),
      row.floor === undefined ? '' : figure(row.floor, row.unit),
      comparison(row),
      row.target ?? '',
      verdict(row),
    ].join(' | ')
  const rated = rows.filter(({ target }) => target)
  const reached = rated.filter(row => row.reached).length
  const shares = rows.flatMap(({ cpu }) => Object.values(cpu).map(({ generator }) => generator))
  const gigabytes = Math.round(machine.memoryBytes / 2 ** 30)
  return [
    '| | telehub | Mosquitto | Node floor | to Mosquitto | target | |',
    '|---|---:|---:|---:|---:|---|---|',
    ...rows.map(row => `| ${line(row)} |`),
    '',
    `${reached} of ${rated.length} targets reached. Measured ${date.slice(0, 10)} in one run of \`npm run bench\`, ${seconds} s ` +
      `each, on ${machine.cores} cores (${machine.cpu}, ${gigabytes} GB), of which the load generator took ` +
      `${Math.max(...shares).toFixed(1)} at most. telehub ` +
      `${versions.telehub} (Node ${versions.node}) runs as \`npm start\` does: what it takes is on disk before PUBACK and goes to ` +
      `DuckDB meanwhile. Mosquitto ${versions.mosquitto} is in memory only, without queue limits, with TCP_NODELAY. The Node ` +
      'floor parses, acknowledges and passes on, and does nothing else.',
  ].join('\n')
}
