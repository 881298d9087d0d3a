#!/usr/bin/env node
import { type ChildProcess, fork } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { type Command, command, commandLines, type Flags, parseCommand, type Terminal } from './cli/command.js'
import { commands } from './cli/commands.js'
import { loadSettings, queueServerName, settingsHelp } from './config/config.js'
import type { Settings } from './config/settings.js'
import { describe, HubError, systemCode } from './errors.js'
import { inletMistakes } from './inlets/plan.js'
import { createLog, type Log, plain } from './observe/log.js'
import { outletMistakes } from './outlets/plan.js'
import { SerialQueue } from './runtime/serial-queue.js'

const version = (
  JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string }
).version

const startFlags = { demo: { help: 'add a simulated smart home' } } as const satisfies Flags

const allCommands: readonly Command[] = [
  command({
    name: 'start',
    summary: 'start the hub (the default command); --demo adds a simulated smart home',
    about: 'SIGHUP reads the settings again: the log says what changed, and what needs a restart.',
    flags: startFlags,
    examples: ['telehub start --demo', 'telehub start --mqtt.port 1884 --data.dir /var/lib/telehub'],
    settings: 'serves',
    run: async ({ flags, settings: read, load }) => {
      const settings = read()
      if (flags.demo && (settings['auth.file'] || settings['mqtt.port'] === 'off')) {
        throw new HubError('bad_settings', '--demo: its devices have no users and need mqtt.port; leave out auth.file')
      }
      serves = true
      return start(settings, flags.demo === true, () => load(true))
    },
  }),
  command({
    name: 'process',
    summary: 'store what RabbitMQ or Kafka holds, without a hub: on other machines, any number of them',
    examples: ['telehub process --rabbitmq.url amqp://mq --influx.url http://influx:8086/telehub'],
    run: ({ settings, load }) => {
      serves = true
      return runProcess(settings(), () => load(false))
    },
  }),
  ...commands,
]

const help = () => `telehub: every message is on disk before it is acknowledged

${commandLines(allCommands)}
  telehub --version

telehub COMMAND --help shows the flags of a command, with an example.

Settings come from telehub.yaml (--config FILE names another), then the environment (mqtt.port is TELEHUB_MQTT_PORT),
then flags:

${settingsHelp()}
`

/** True while a command runs until stopped: the caller waits for the line that the command is ready. */
let serves = false

async function main(): Promise<void> {
  // Files that are written hold messages, keys and passwords: no other user of the machine may read them.
  process.umask(0o077)
  const parsed = parseCommand(allCommands, process.argv.slice(2), help)
  if ('help' in parsed) return void process.stdout.write(parsed.help)
  if ('version' in parsed) return void process.stdout.write(`${version}\n`)
  const { command, args, flags, config, mistakes } = parsed
  const { TELEHUB_KEY: environmentKey, ...environment } = process.env
  const check = (settings: Settings) => [...outletMistakes(settings), ...inletMistakes(settings)]
  const load = (serves: boolean) =>
    loadSettings({ flags: parsed.settings, environment, file: config, serves, mistakes, check })
  const reads = command.settings !== 'own' && command.settings !== 'none'
  // All mistakes are reported at once, before the command does anything.
  const settings = reads ? load(command.settings === 'serves') : undefined
  if (mistakes.length > 0) throw new HubError('bad_settings', mistakes.join('\n'))
  process.exitCode = await command.run({
    args,
    flags,
    settings: () => settings ?? load(false),
    load,
    settingsFile: config ?? 'telehub.yaml',
    environmentKey,
    terminal,
    version,
  })
}

const terminal: Terminal = {
  out: text => void process.stdout.write(text),
  progress: text => void (process.stderr.isTTY && process.stderr.write(`\r\x1b[K${text}`)),
  now: () => Date.now(),
  get asks() {
    return process.stdin.isTTY === true
  },
}

/** Runs the record consumer alone until a signal. */
async function runProcess(settings: Settings, read: () => Settings): Promise<never> {
  const log = createLog(settings)
  const signalled = signal(log)
  // Loaded when needed: the other commands start in half the time.
  const { startProcess } = await import('./pipeline/record-process.js')
  const reloads = hangUps(log, read)
  let stop = await startProcess(settings, log)
  reloads.begin(async next => {
    log.level = next['log.level']
    await stop()
    stop = await startProcess(next, log)
    log.info('settings read again; the consumer was restarted')
  })
  const place = (...urls: readonly string[]) => urls.map(url => new URL(url).host).join(', ')
  const queue =
    settings['rabbitmq.url'].length > 0
      ? `RabbitMQ ${place(...settings['rabbitmq.url'])}`
      : `Kafka ${settings['kafka.brokers'].join(',')}`
  process.stdout.write(`telehub process ready · ${queue} → InfluxDB ${place(settings['influx.url'])}\n`)
  await signalled
  await reloads.end()
  const problems = await stop()
  for (const problem of problems) log.warn(problem)
  log.info('stopped')
  process.exit(problems.length > 0 ? 1 : 0)
}

/** Runs the hub until a signal or a failure. */
async function start(settings: Settings, demo: boolean, read: () => Settings): Promise<never> {
  const log = createLog(settings)
  // From the first moment: a signal that arrives while the hub starts stops the hub right after the start.
  const signalled = signal(log)
  const reloads = hangUps(log, read)
  const { startHub } = await import('./hub.js')
  const hub = await startHub(settings, log, version)
  reloads.begin(next => hub.reload(next))
  const { mqttUrl, mqttsUrl, httpUrl, webSocketUrl } = hub
  const parts = [
    `dashboard ${httpUrl}`,
    ...(mqttUrl ? [mqttUrl] : []),
    ...(mqttsUrl ? [mqttsUrl] : []),
    webSocketUrl,
    `queue ${queueServerName(settings) ?? 'embedded'}`,
    `store ${settings['influx.url'] ? 'InfluxDB' : 'DuckDB'}`,
    `data ${settings['data.dir']}`,
    ...(hub.restoring ? ['kept sessions are being restored'] : []),
  ]
  process.stdout.write(`telehub ready · ${parts.join(' · ')}\n`)
  if (settings['auth.anonymous'] && settings['auth.file'] === '')
    log.warn('auth.anonymous is on: anyone who can reach this hub may read and publish everything')
  const devices = demo && mqttUrl ? startDevices(mqttUrl) : undefined

  const failure = await Promise.race([signalled, hub.failed])
  if (failure) log.error(`the hub has to stop: ${failure.message}`)
  await stopDevices(devices)
  // One that is under way is given up by the stop: it may wait for a thread that cannot start.
  void reloads.end()
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
      log.info('stopping; send the signal again to force it')
      resolve(undefined)
    }
    process.on('SIGINT', take)
    process.on('SIGTERM', take)
  })
}

/** Reads the settings again at each SIGHUP, one after the other. A signal that comes before `begin` waits for that. */
function hangUps(log: Log, read: () => Settings) {
  let apply: ((settings: Settings) => Promise<void>) | undefined
  let waits = false
  let isOver = false
  const working = new SerialQueue()
  const reload = async () => {
    try {
      if (!isOver) await apply?.(read())
    } catch (error) {
      for (const line of describe(error).split('\n'))
        log.warn(`settings not applied, the previous ones stay in use: ${line}`)
    }
  }
  const take = () => {
    if (!apply) waits = true
    else void working.run(reload)
  }
  process.on('SIGHUP', take)
  return {
    begin(how: (settings: Settings) => Promise<void>) {
      apply = how
      if (waits) take()
    },
    /** From now on nothing is read again; resolves when what is under way has ended. */
    async end() {
      isOver = true
      await working.idle()
    },
  }
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

// SIGUSR1 would open Node's inspector, and thereby the whole process, to every user of the machine. This listener
// replaces Node's own, also on versions without --disable-sigusr1.
process.on('SIGUSR1', () => process.stderr.write('telehub: SIGUSR1 is ignored: it would open the inspector of Node\n'))

// A reader such as `head` may close the pipe early. A hub goes on when the reader of the log has gone.
process.stderr.on('error', () => {})
process.stdout.on('error', (error: unknown) => {
  if (serves) process.stderr.write('telehub: stdout is closed, so the ready line could not be written; exiting\n')
  process.exit(!serves && systemCode(error) === 'EPIPE' ? 0 : 1)
})

main().catch((error: unknown) => {
  const known = error instanceof HubError
  for (const line of describe(error).split('\n')) process.stderr.write(`telehub: ${plain(line)}\n`)
  if (!known && error instanceof Error) process.stderr.write(`${error.stack}\n`)
  process.exit(known && error.code === 'bad_settings' ? 2 : 1)
})
