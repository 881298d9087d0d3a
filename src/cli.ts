#!/usr/bin/env node
import { type ChildProcess, fork } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { type AdminFlags, admin, adminFlags, adminHelp, adminHint } from './admin.js'
import { loadSettings, type Settings, settingKeys, settingsHelp } from './config.js'
import { describe, HubError, systemCode } from './errors.js'
import { startHub } from './hub.js'
import { createLog, type Log } from './log.js'
import { startProcess } from './processing.js'

const help = () => `telehub: every message is on disk before it is acknowledged

  telehub start [--demo]   start the hub; --demo adds a simulated smart home
  telehub process          store what RabbitMQ holds, without a hub: on other machines, any number of them
  telehub check            check the settings and say what is wrong with them, all at once
${adminHelp}
  telehub --version

${adminHint}

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
      ...adminFlags,
      config: { type: 'string' },
      demo: { type: 'boolean' },
      help: { type: 'boolean', short: 'h' },
      version: { type: 'boolean' },
    },
  })
  const { help: wantsHelp, version: wantsVersion, demo, config, ...given } = values
  const [command = 'start', ...rest] = positionals
  if (wantsHelp) return void process.stdout.write(help())
  if (wantsVersion) return void process.stdout.write(`${version}\n`)
  if (!['start', 'check', 'process', 'spool', 'dead'].includes(command)) {
    throw new HubError('bad_settings', `there is no command ${command}; telehub --help lists them`)
  }
  const isAdmin = command === 'spool' || command === 'dead'
  const of = (isOne: (name: string) => boolean) =>
    Object.fromEntries(Object.entries(given).filter(([name]) => isOne(name)))
  const isFlag = (name: string) => isAdmin && Object.hasOwn(adminFlags, name)
  const settings = loadSettings({
    flags: of(name => !isFlag(name)),
    environment: process.env,
    file: typeof config === 'string' ? config : undefined,
    serves: command === 'start' || command === 'check',
  })
  if (isAdmin) {
    process.exitCode = await admin(positionals, of(isFlag) as AdminFlags, urlOf(settings, given.url), terminal)
    return
  }
  if (demo && command !== 'start') throw new HubError('bad_settings', `${command} takes no --demo`)
  if (rest.length > 0)
    throw new HubError('bad_settings', `${command} takes no ${rest.join(' ')}; telehub --help shows its use`)
  if (command === 'check') return void process.stdout.write('the settings are in order\n')
  if (command === 'process') await runProcess(settings)
  else await start(settings, demo === true)
}

function urlOf(settings: Settings, given: unknown): string {
  if (typeof given === 'string') return given
  const host = settings.host.includes(':') ? `[${settings.host}]` : settings.host
  return `http${settings['tls.cert'] ? 's' : ''}://${host}:${settings['http.port']}`
}

const terminal = {
  out: (text: string) => void process.stdout.write(text),
  progress: (text: string) => void (process.stderr.isTTY && process.stderr.write(`\r\x1b[K${text}`)),
  now: () => Date.now(),
}

/** Runs the record consumer alone until a signal ends it. */
async function runProcess(settings: Settings): Promise<void> {
  const log = createLog(settings)
  const signalled = signal(log)
  const stop = await startProcess(settings, log)
  const place = (url: string) => new URL(url).host
  process.stdout.write(
    `telehub process ready · RabbitMQ ${place(settings['rabbitmq.url'])} → InfluxDB ${place(settings['influx.url'])}\n`,
  )
  await signalled
  const problems = await stop()
  for (const problem of problems) log.warn(problem)
  log.info('stopped')
  process.exit(problems.length > 0 ? 1 : 0)
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

// Whoever reads us may have read enough, as `head` has.
process.stdout.on('error', (error: unknown) => process.exit(systemCode(error) === 'EPIPE' ? 0 : 1))

main().catch((error: unknown) => {
  const known = error instanceof HubError
  for (const line of describe(error).split('\n')) process.stderr.write(`telehub: ${line}\n`)
  if (!known && error instanceof Error) process.stderr.write(`${error.stack}\n`)
  process.exit(known && error.code === 'bad_settings' ? 2 : 1)
})
