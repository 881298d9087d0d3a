import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { tempDir } from '../services/service.js'
import { alertBench, lines, series } from './alert-rules.js'

/*
 * The longest turn of the event loop while very many alerts are due at once: a rule fires for 10,000 series, and holds
 * back 10,000 others over 100,000 series, which are looked at again and again. Then all are over.
 */

const mostMs = 10
/** Longer than the pause between two looks at alerts that are held back. */
const watchedMs = 25_000

export async function alertTurns(): Promise<void> {
  const dir = await tempDir()
  const rules = Array.from({ length: lines - 1 }, (_, n) => {
    return `  r${n}: { measurement: plant, tags: { line: l${n} }, above: -1000, unless: { rule: first, same: line } }`
  })
  writeFileSync(
    join(dir, 'alerts.yaml'),
    `rules:\n  first: { measurement: plant, tags: { device: d0 }, field: temperature, above: -1000 }\n${rules.join('\n')}\n`,
  )
  const bench = await alertBench(dir)
  const turns = monitorEventLoopDelay({ resolution: 1 })
  turns.enable()
  const longest = (what: string) => {
    const ms = turns.max / 1e6
    const verdict = ms < mostMs ? 'reached' : 'missed'
    const p999 = (turns.percentile(99.9) / 1e6).toFixed(1)
    process.stdout.write(
      `${lines.toLocaleString('en')} alert rules over ${series.toLocaleString('en')} series, ${what}: longest turn ${ms.toFixed(1)} ms (below ${mostMs} ms: ${verdict}), p99.9 ${p999} ms\n`,
    )
    turns.reset()
  }
  await bench.round()
  longest('all fire')
  await sleep(watchedMs)
  longest('all are held back')
  await bench.round(-2_000)
  longest('all are over')
  turns.disable()
  await bench.alerts.stop()
  rmSync(dir, { recursive: true, force: true })
}
