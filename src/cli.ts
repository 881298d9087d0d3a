#!/usr/bin/env node
import { type ChildProcess, fork } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { loadSettings, type Settings, settingKeys, settingsHelp } from './config.js'
import { describe, HubError } from './errors.js'
import { startHub } from './hub.js'
import { createLog, type Log } from './log.js'

const help = () => `telehub: every message is on disk before it is acknowledged

  telehub start [--demo]   start the hub; --demo adds a simulated smart home
  telehub check            check the settings and say what is wrong with them, all at once
  telehub --version

Settings come from telehub.yaml (--config FILE names another), then the environment (mqtt.port is
TELEHUB_MQTT_PORT), then flags:

${settingsHelp()}
`

const version = (
  JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string }
).version

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    strict: false,
    allowPositionals: true,
    options: {
      ...Object.fromEntries(settingKeys.map(key => [key, { type: 'string' as const }])),
      config: { type: 'string' },
      demo: { type: 'boolean' },
      help: { type: 'boolean', short: 'h' },
      version: { type: 'boolean' },
    },
  })
  const { help: wantsHelp, version: wantsVersion, demo, config, ...flags } = values
  const [command = 'start', ...rest] = positionals
  if (wantsHelp) return void process.stdout.write(help())
  if (wantsVersion) return void process.stdout.write(`${version}\n`)
  if (!['start', 'check'].includes(command)) {
    throw new HubError('bad_settings', `there is no command ${command}; telehub --help lists them`)
  }
  const settings = loadSettings({
    flags,
    environment: process.env,
    file: typeof config === 'string' ? config : undefined,
  })
  if (rest.length > 0)
    throw new HubError('bad_settings', `${command} takes no ${rest.join(' ')}; telehub --help shows its use`)
  if (command === 'check') return void process.stdout.write('the settings are in order\n')
  await start(settings, demo === true)
}

/** Runs the hub until a signal or a failure ends it. */
async function start(settings: Settings, demo: boolean): Promise<void> {
  const log = createLog(settings)
  // From the first moment: a signal that arrives while the hub starts stops it as soon as it has.
  const signalled = signal(log)
  const hub = await startHub(settings, log, version)
  const { mqttUrl, mqttsUrl, httpUrl, webSocketUrl } = hub
  const parts = [
    `dashboard ${httpUrl}`,
    mqttUrl,
    ...(mqttsUrl ? [mqttsUrl] : []),
    webSocketUrl,
    `queue ${settings['rabbitmq.url'] ? 'RabbitMQ' : 'embedded'}`,
    `store ${settings['influx.url'] ? 'InfluxDB' : 'DuckDB'}`,
    `data ${settings['data.dir']}`,
  ]
  process.stdout.write(`telehub ready · ${parts.join(' · ')}\n`)
  if (settings['auth.anonymous'])
    log.warn('auth.anonymous is on: whoever reaches this hub may read and publish everything')
  const devices = demo ? startDevices(mqttUrl) : undefined

  const failure = await Promise.race([signalled, hub.failed])
  if (failure) log.error(`the hub cannot go on: ${failure.message}`)
  await stopDevices(devices)
  const problems = await hub.stop()
  for (const problem of problems) log.warn(problem)
  log.info('stopped')
  process.exit(failure || problems.length > 0 ? 1 : 0)
}

/** Resolves with the first SIGINT or SIGTERM; the second ends the process at once. */
function signal(log: Log): Promise<undefined> {
  return new Promise(resolve => {
    let first = true
    const take = () => {
      if (!first) process.exit(1)
      first = false
      log.info('stopping; once more to force it')
      resolve(undefined)
    }
    process.on('SIGINT', take)
    process.on('SIGTERM', take)
  })
}

function startDevices(url: string): ChildProcess {
  const fleet = fileURLToPath(new URL('../devices/fleet.js', import.meta.url))
  return fork(fleet, ['--profile', 'home', '--url', url], {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    detached: true,
  })
}

async function stopDevices(devices: ChildProcess | undefined): Promise<void> {
  if (!devices || devices.exitCode !== null) return
  const gone = new Promise<void>(resolve => devices.once('exit', () => resolve()))
  devices.kill('SIGTERM')
  const timer = setTimeout(() => devices.kill('SIGKILL'), 3_000)
  await gone
  clearTimeout(timer)
}

main().catch((error: unknown) => {
  const known = error instanceof HubError
  for (const line of describe(error).split('\n')) process.stderr.write(`telehub: ${line}\n`)
  if (!known && error instanceof Error) process.stderr.write(`${error.stack}\n`)
  process.exit(known && error.code === 'bad_settings' ? 2 : 1)
})
