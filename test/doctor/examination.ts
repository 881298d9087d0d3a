import { cpSync } from 'node:fs'
import t, { type Test } from 'tap'
import { connectMqtt, runCli, startHub } from '../harness.js'
import { tempDir } from '../services/service.js'

interface Seen {
  readonly check: string
  readonly level: 'fine' | 'warning' | 'problem'
  readonly seen: string
  readonly advice?: string
  readonly repair?: string
}

export interface Examination {
  readonly code: number | null
  readonly problems: number
  readonly findings: readonly Seen[]
  /** All that a check has found, in one text. */
  of(check: string): string
  levels(check: string): string[]
}

/** The command, as it is called, on a data directory; on free ports unless they are given. */
export async function doctor(
  dir: string,
  settings: Readonly<Record<string, string>> = {},
  ...more: string[]
): Promise<Examination> {
  const all = { 'mqtt.port': '0', 'http.port': '0', 'data.dir': dir, ...settings }
  const flags = Object.entries(all).flatMap(([key, value]) => [`--${key}`, value])
  const run = runCli(['doctor', '--json', ...more, ...flags])
  const code = await run.exited
  const { problems, findings } = JSON.parse(run.stdout() || `{"problems": -1, "findings": []}`) as Examination
  if (run.stderr()) t.comment(run.stderr())
  const by = (check: string) => findings.filter(one => one.check === check)
  return {
    code,
    problems,
    findings,
    of: check =>
      by(check)
        .map(({ seen, advice }) => `${seen}. ${advice ?? ''}`)
        .join('\n'),
    levels: check => by(check).map(({ level }) => level),
  }
}

let used: Promise<string> | undefined

/** A data directory as a hub leaves it, for this test alone: messages in the spool, a session, dead letters. */
export async function usedDirectory(t: Test): Promise<string> {
  used ??= leftByHub(t)
  const dir = await tempDir()
  cpSync(await used, dir, { recursive: true, preserveTimestamps: true })
  return dir
}

async function leftByHub(t: Test): Promise<string> {
  const hub = await startHub(t)
  const client = await connectMqtt(t, hub.mqttUrl, { clientId: 'kept', clean: false })
  await client.subscribeAsync('a/#', { qos: 1 })
  for (let i = 0; i < 20; i++) await client.publishAsync('home/hall/t/telemetry', `{"value": ${i}}`, { qos: 1 })
  await client.publishAsync('home/hall/t/telemetry', '{"value": ', { qos: 1 })
  await client.endAsync()
  t.equal(await hub.stop(), 0)
  return hub.dir
}
