import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Load } from './load.js'

export interface Row {
  readonly name: string
  readonly what: string
  readonly acknowledgedPerSecond: number
  /** To the row `mosquitto` of the same run. */
  readonly ratio?: number
}

export interface Results {
  readonly date: string
  readonly machine: { readonly cores: number; readonly cpu: string; readonly node: string }
  readonly load: Omit<Load, 'port'>
  readonly rows: readonly Row[]
}

/** In the sources, not in what is compiled from them: it is committed. */
export const resultsFile = fileURLToPath(new URL('../../../test/bench/results.json', import.meta.url))

export function readResults(): Results {
  return JSON.parse(readFileSync(resultsFile, 'utf8')) as Results
}

/** The table of the README. */
export function resultsMarkdown({ date, machine, load, rows }: Results): string {
  const { publishers, window, payloadBytes, durationMs } = load
  return [
    `| QoS 1, ${publishers} publishers, window ${window}, ${payloadBytes} bytes | acknowledged/s | to Mosquitto |`,
    '|---|---:|---:|',
    ...rows.map(
      ({ what, acknowledgedPerSecond, ratio }) =>
        `| ${what} | ${acknowledgedPerSecond.toLocaleString('en')} | ${ratio === undefined ? '' : `${ratio} ×`} |`,
    ),
    '',
    `Measured ${date.slice(0, 10)} in one run of \`npm run bench\`, ${durationMs / 1_000} s a row, on ${machine.cores} ` +
      `cores (${machine.cpu}), load generator included, Node ${machine.node}.`,
  ].join('\n')
}
