#!/usr/bin/env node
import { type ChildProcess, fork } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { readUsers } from './auth/users.js'
import { type AdminFlags, admin, adminFlags, adminHelp, adminHint, localKey } from './cli/admin.js'
import { type AuditFlags, audit, auditHelp } from './cli/audit.js'
import { certificatesHelp, certify } from './cli/certificates.js'
import { doctorFlags, doctorHelp, runDoctor } from './cli/doctor.js'
import { checkHealth, healthcheckHelp } from './cli/healthcheck.js'
import { isUserCommand, type UserFlags, userAdmin, userFlags, userHelp, userHint } from './cli/user-admin.js'
import { loadSettings, settingKeys, settingsHelp } from './config/config.js'
import type { Settings } from './config/settings.js'
import { describe, HubError, systemCode } from './errors.js'
import { createLog, type Log, plain } from './observe/log.js'
import { loadTls, tlsPaths } from './transport/tls.js'

const help = () => `telehub: every message is on disk before it is acknowledged

  telehub start [--demo]   start the hub; --demo adds a simulated smart home
  telehub process          store what RabbitMQ holds, without a hub: on other machines, any number of them
  telehub check            check the settings and say what is wrong with them, all at once
${doctorHelp}
${healthcheckHelp}
${certificatesHelp}
${adminHelp}
${auditHelp}
${userHelp}
  telehub --version

${adminHint}

${userHint}

Settings come from telehub.yaml (--config FILE names another), then the environment (mqtt.port is
TELEHUB_MQTT_PORT), then flags. SIGHUP reads them again: the log says what changed and what needs a restart.

${settingsHelp()}
`

const version = (
  JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string }
).version

/** Flags beside the settings, for each command that is not about users. */
const flagsByCommand: Readonly<Record<string, object>> = {
  start: {},
  process: {},
  check: {},
  healthcheck: {},
  doctor: { ...adminFlags, ...doctorFlags },
  spool: adminFlags,
  dead: adminFlags,
  session: adminFlags,
  login: adminFlags,
  ban: adminFlags,
  audit: adminFlags,
}

/** Parses the arguments. Called twice, as the flags depend on the command. */
const readArguments = (own: ReturnType<typeof userFlags>) =>
  parseArgs({
    strict: false,
    allowPositionals: true,
    options: {
      ...Object.fromEntries(settingKeys.map(key => [key, { type: 'string' as const }])),
      ...own,
      ...adminFlags,
      ...doctorFlags,
      config: { type: 'string' },
      demo: { type: 'boolean' },
      help: { type: 'boolean', short: 'h' },
      version: { type: 'boolean' },
    },
  })

/** True while a command runs until stopped: the caller waits for the line that the command is ready. */
let serves = false

async function main(): Promise<void> {
  // Files that are written hold messages, keys and passwords: no other user of the machine may read them.
  process.umask(0o077)
  // This command has flags of its own, and needs no settings.
  const [, , first, ...others] = process.argv
  if (first === 'cert' && !others.includes('--help')) return certify(others, terminal)
  const ownFlags = userFlags(readArguments({}).positionals)
  const { values, positionals } = readArguments(ownFlags)
  const { help: wantsHelp, version: wantsVersion, demo, config, ...given } = values
  const [command = 'start', ...rest] = positionals
  if (wantsHelp) return void process.stdout.write(help())
  if (wantsVersion) return void process.stdout.write(`${version}\n`)
  const isUsers = isUserCommand(command)
  if (!isUsers && !Object.hasOwn(flagsByCommand, command)) {
    throw new HubError('bad_settings', `there is no command ${command}; telehub --help lists them`)
  }
  const isAdmin = ['spool', 'dead', 'session', 'login', 'ban'].includes(command)
  const isAudit = command === 'audit'
  const of = (isOne: (name: string) => boolean) =>
    Object.fromEntries(Object.entries(given).filter(([name]) => isOne(name)))
  const flagsOf = isUsers ? ownFlags : (flagsByCommand[command] ?? {})
  const isFlag = (name: string) => Object.hasOwn(flagsOf, name)
  const { TELEHUB_KEY: environmentKey, ...environment } = process.env
  const load = (serves: boolean) =>
    loadSettings({
      flags: of(name => !isFlag(name)),
      environment,
      file: typeof config === 'string' ? config : undefined,
      serves,
    })
  const hubAt = (settings: Settings) => {
    const url = typeof given.url === 'string' ? given.url : callable(urlOf(settings))
    return {
      url,
      key: typeof given.key === 'string' ? given.key : environmentKey || localKey(settings['data.dir'], url),
    }
  }
  if (command === 'doctor') {
    process.exitCode = await runDoctor({ rest, flags: of(isFlag) as AdminFlags, load, hubAt, ...terminal })
    return
  }
  const settings = load(command === 'start' || command === 'check')
  if (isAdmin) {
    process.exitCode = await admin(positionals, of(isFlag) as AdminFlags, hubAt(settings), terminal)
    return
  }
  if (isAudit) {
    process.exitCode = await audit(positionals, of(isFlag) as AuditFlags, settings['data.dir'], terminal.out)
    return
  }
  if (isUsers) {
    const place = usersPlace(settings, typeof config === 'string' ? config : 'telehub.yaml')
    const asks = process.stdin.isTTY === true
    process.exitCode = await userAdmin(positionals, of(isFlag) as UserFlags, place, { ...terminal, asks })
    return
  }
  if (demo && command !== 'start') throw new HubError('bad_settings', `${command} takes no --demo`)
  if (demo && (settings['auth.file'] || settings['mqtt.port'] === 'off')) {
    throw new HubError('bad_settings', '--demo: its devices have no users and need mqtt.port; leave out auth.file')
  }
  if (rest.length > 0)
    throw new HubError('bad_settings', `${command} takes no ${rest.join(' ')}; telehub --help shows its use`)
  if (command === 'check') {
    checkFiles(settings)
    return void process.stdout.write('the settings are in order\n')
  }
  if (command === 'healthcheck') return void process.stdout.write(`${await checkHealth(settings)} is healthy\n`)
  serves = true
  if (command === 'process') await runProcess(settings, () => load(false))
  else await start(settings, demo === true, () => load(true))
}

/**
 * Checks the files that the settings name. Throws what is wrong with all of them, in the words of the hub that starts.
 */
function checkFiles(settings: Settings): void {
  const faults: string[] = []
  const attempt = (check: () => void) => {
    try {
      check()
    } catch (error) {
      faults.push(describe(error))
    }
  }
  if (settings['tls.cert']) attempt(() => loadTls(tlsPaths(settings)))
  const users = settings['auth.file']
  if (users) attempt(() => checkUsers(resolve(users)))
  if (faults.length > 0) throw new HubError('bad_settings', faults.join('\n'))
}

function checkUsers(file: string): void {
  if (!existsSync(file)) {
    throw new HubError(
      'bad_settings',
      `auth.file: there is no file ${file}; telehub user add NAME --kind admin makes it`,
    )
  }
  try {
    if (readUsers(file).users.size > 0) return
  } catch (error) {
    const faults = describe(error).split('\n')
    throw new HubError('bad_settings', faults.map(fault => `auth.file: ${fault}`).join('\n'), { cause: error })
  }
  process.stderr.write(
    `telehub: auth.file: ${plain(file)} has no users, so nobody can log in; telehub user add NAME --kind admin makes the first\n`,
  )
}

function urlOf(settings: Settings): string {
  const host = settings.host.includes(':') ? `[${settings.host}]` : settings.host
  return `http${settings['tls.cert'] ? 's' : ''}://${host}:${settings['http.port']}`
}

/** Returns a URL to call: an address to listen on for all cannot be called, and no certificate is for one. */
function callable(url: string): string {
  const { hostname, protocol, port } = new URL(url)
  return hostname === '0.0.0.0' || hostname === '[::]' ? `${protocol}//localhost${port && `:${port}`}` : url
}

/** Returns the users file, or where one is made when the settings name none: beside the settings file. */
function usersPlace(settings: Settings, settingsFile: string) {
  const named = settings['auth.file']
  const file = named || join(dirname(settingsFile), 'users.yaml')
  const wildcards = settings['limits.wildcards']
  return { file, isNamed: named !== '', settingsFile, url: urlOf(settings), wildcards }
}

const terminal = {
  out: (text: string) => void process.stdout.write(text),
  progress: (text: string) => void (process.stderr.isTTY && process.stderr.write(`\r\x1b[K${text}`)),
  now: () => Date.now(),
}

/** Runs the record consumer alone until a signal. */
async function runProcess(settings: Settings, read: () => Settings): Promise<void> {
  const log = createLog(settings)
  const signalled = signal(log)
  // Loaded when needed: the other commands start in half the time.
  const { startProcess } = await import('./pipeline/pipeline.js')
  const reloads = hangUps(log, read)
  let stop = await startProcess(settings, log)
  reloads.begin(async next => {
    log.level = next['log.level']
    await stop()
    stop = await startProcess(next, log)
    log.info('settings read again; the consumer was started anew')
  })
  const place = (url: string) => new URL(url).host
  process.stdout.write(
    `telehub process ready · RabbitMQ ${place(settings['rabbitmq.url'])} → InfluxDB ${place(settings['influx.url'])}\n`,
  )
  await signalled
  await reloads.end()
  const problems = await stop()
  for (const problem of problems) log.warn(problem)
  log.info('stopped')
  process.exit(problems.length > 0 ? 1 : 0)
}

/** Runs the hub until a signal or a failure. */
async function start(settings: Settings, demo: boolean, read: () => Settings): Promise<void> {
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
    `queue ${settings['rabbitmq.url'] ? 'RabbitMQ' : 'embedded'}`,
    `store ${settings['influx.url'] ? 'InfluxDB' : 'DuckDB'}`,
    `data ${settings['data.dir']}`,
  ]
  process.stdout.write(`telehub ready · ${parts.join(' · ')}\n`)
  if (settings['auth.anonymous'] && settings['auth.file'] === '')
    log.warn('auth.anonymous is on: whoever reaches this hub may read and publish everything')
  const devices = demo && mqttUrl ? startDevices(mqttUrl) : undefined

  const failure = await Promise.race([signalled, hub.failed])
  if (failure) log.error(`the hub cannot go on: ${failure.message}`)
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
      log.info('stopping; once more to force it')
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
  let working: Promise<void> = Promise.resolve()
  const reload = async () => {
    try {
      if (!isOver) await apply?.(read())
    } catch (error) {
      for (const line of describe(error).split('\n')) log.warn(`settings not read again, the old ones hold: ${line}`)
    }
  }
  const take = () => {
    if (!apply) waits = true
    else working = working.then(reload)
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
      await working
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
  if (serves) process.stderr.write('telehub: stdout is closed, where the addresses were to be written: it ends\n')
  process.exit(!serves && systemCode(error) === 'EPIPE' ? 0 : 1)
})

main().catch((error: unknown) => {
  const known = error instanceof HubError
  for (const line of describe(error).split('\n')) process.stderr.write(`telehub: ${plain(line)}\n`)
  if (!known && error instanceof Error) process.stderr.write(`${error.stack}\n`)
  process.exit(known && error.code === 'bad_settings' ? 2 : 1)
})
