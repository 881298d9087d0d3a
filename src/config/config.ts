import { existsSync, readFileSync } from 'node:fs'
import { isIPv4 } from 'node:net'
import { isNode, LineCounter, parseDocument, parse as parseYaml } from 'yaml'
import { HubError, withoutPasswords } from '../errors.js'
import { nearest } from '../runtime/nearest.js'
import { duration, type SettingKind, showSize, showTime } from './kinds.js'
import { reloadable } from './reload.js'
import {
  type KeepTimes,
  type OutletSetting,
  type SettingKey,
  type Settings,
  settingsTable,
  showKeep,
} from './settings.js'
import { type Sources, sourcesOf, withSources } from './sources.js'

export { readYamlText, type YamlText } from './yaml-text.js'

const keys = Object.keys(settingsTable) as SettingKey[]

export const settingKeys: readonly SettingKey[] = keys

const environmentName = (key: string) => `TELEHUB_${key.replaceAll('.', '_').toUpperCase()}`

export interface SettingsSources {
  /** Parsed flags: `--mqtt.port 1884` is `{'mqtt.port': '1884'}`. */
  readonly flags?: Readonly<Record<string, unknown>>
  readonly environment?: Readonly<Record<string, string | undefined>>
  /** Path of the YAML file, which must exist when given. Default `telehub.yaml`, if that exists. */
  readonly file?: string | undefined
  /** False for a command that only asks or takes: which clients may connect is not checked then. */
  readonly serves?: boolean
  /** Mistakes found before, which are reported with the others. */
  readonly mistakes?: readonly string[]
  /** Returns the mistakes of settings that parts above this folder know. Called only when the command serves. */
  readonly check?: (settings: Settings) => readonly string[]
}

/**
 * Loads the settings: file < environment < flags. All mistakes are collected and thrown as one `bad_settings`, a line
 * each: where, what was given, what is allowed.
 */
export function loadSettings({
  flags = {},
  environment = {},
  file,
  serves = true,
  mistakes = [],
  check = () => [],
}: SettingsSources): Settings {
  const problems = [...mistakes]
  const given = new Map<string, { value: unknown; from: string }>()
  for (const [key, value] of fileValues(file, problems)) given.set(key, { value, from: file ?? defaultFile })
  for (const [name, value] of Object.entries(environment)) {
    if (!name.startsWith('TELEHUB_') || value === undefined) continue
    const key = keys.find(candidate => environmentName(candidate) === name)
    if (key) given.set(key, { value, from: name })
    else {
      const prefix = 'TELEHUB_'
      const ends = hinted.map(key => environmentName(key).slice(prefix.length))
      const meant = nearest(name.slice(prefix.length), ends)
      const hint = meant ? `did you mean ${prefix}${meant}?` : listed
      problems.push(`${name}: no such setting; ${hint}`)
    }
  }
  for (const [key, value] of Object.entries(flags)) given.set(key, { value, from: `--${key}` })

  const settings: Record<string, unknown> = {}
  const sources: { -readonly [Key in keyof Sources]: Sources[Key] } = {}
  for (const key of keys) settings[key] = settingsTable[key].default
  for (const [key, { value, from }] of given) {
    if (!isSettingKey(key)) {
      const meant = nearest(key, hinted)
      const hint = meant ? `did you mean ${meant}?` : listed
      problems.push(`${from}: no such setting${from.includes(key) ? '' : ` ${key}`}; ${hint}`)
      continue
    }
    const { kind } = settingsTable[key]
    const parsed = kind.parse(value)
    const mistakes = parsed === undefined ? (kind.mistakes?.(value) ?? []) : []
    for (const [index, mistake] of mistakes) problems.push(`${key}: ${placeOf(from, key, index)}: ${mistake}`)
    if (parsed === undefined && mistakes.length === 0) {
      // An outlet or inlet may hold a password in any of its members.
      const given = kind.isSecret
        ? '***'
        : key === 'outlets' || key === 'inlets'
          ? 'something else'
          : key.endsWith('.url')
            ? showUrl(value)
            : show(value)
      problems.push(`${key}: given ${given} (${from}), allowed is ${kind.allowed}`)
    } else {
      settings[key] = parsed
      sources[key] = from
    }
  }
  const result = settings as unknown as Settings
  if (serves && !isLoopback(result.host) && result['auth.file'] === '' && !result['auth.anonymous']) {
    problems.push(
      `host: given ${show(result.host)}, which other machines can reach, but there is no login; keep 127.0.0.1, ` +
        'or create users with telehub user add and set auth.file, or set auth.anonymous: true to let everyone in',
    )
  }
  if ((result['tls.cert'] === '') !== (result['tls.key'] === '')) {
    problems.push('tls.cert and tls.key: given one without the other; a certificate needs its key')
  }
  if (result['mqtts.port'] !== 'off' && result['tls.cert'] === '') {
    problems.push(`mqtts.port: given ${result['mqtts.port']}, which needs tls.cert and tls.key`)
  }
  if (result['tls.ca'] !== '' && result['mqtts.port'] === 'off') {
    problems.push(
      `tls.ca: given ${show(result['tls.ca'])}, which needs mqtts.port: clients are asked for certificates only there`,
    )
  }
  if (result['tls.crl'] !== '' && result['tls.ca'] === '') {
    problems.push(
      `tls.crl: given ${show(result['tls.crl'])}, which needs tls.ca: without it no client is asked for a certificate`,
    )
  }
  if (result['proxy.protocol'] && result['proxy.trusted'].length === 0) {
    problems.push('proxy.protocol: given true, which needs proxy.trusted to name the proxies')
  }
  if (result['export.nightly'] && result['influx.url'])
    problems.push(
      `export.nightly: given ${show(result['export.nightly'])}, which is of the embedded store: with influx.url there is none`,
    )
  for (const key of ['influx.token', 'influx.org', 'influx.bucket'] as const)
    if (result[key] !== '' && result['influx.url'] === '') problems.push(`${key}: given, which needs influx.url`)
  if (serves && !result['rabbitmq.record'] && result['rabbitmq.url'].length === 0) {
    problems.push('rabbitmq.record: given false, so that other machines store the messages; that needs rabbitmq.url')
  }
  problems.push(...kafkaProblems(result, sources))
  if (serves) problems.push(...check(result))
  if (serves && result['cluster.name'] !== '') {
    const given = `cluster.name: given ${show(result['cluster.name'])}, which needs`
    if (result['rabbitmq.url'].length === 0)
      problems.push(`${given} rabbitmq.url, the same for all hubs of the cluster`)
    if (result['influx.url'] === '') {
      problems.push(`${given} influx.url, one InfluxDB for all hubs: DuckDB is the store of one hub alone`)
    }
  }
  if (problems.length > 0) throw new HubError('bad_settings', problems.join('\n'))
  return withSources(result, sources)
}

/** Returns what does not fit together in the settings of Kafka. */
function kafkaProblems(settings: Settings, sources: Sources): string[] {
  const problems: string[] = []
  const hasBrokers = settings['kafka.brokers'].length > 0
  if (hasBrokers && settings['rabbitmq.url'].length > 0)
    problems.push(
      'kafka.brokers and rabbitmq.url: both given, but the messages to be stored go through one of them, or two consumers ' +
        'would store everything twice. Take one away',
    )
  if (!settings['kafka.record'] && !hasBrokers)
    problems.push('kafka.record: given false, so that other machines store the messages; that needs kafka.brokers')
  if ((settings['kafka.tls.cert'] === '') !== (settings['kafka.tls.key'] === ''))
    problems.push('kafka.tls.cert and kafka.tls.key: given one without the other; a certificate needs its key')
  const from = sources['kafka.sasl.password']
  if (from !== undefined && from !== environmentName('kafka.sasl.password'))
    problems.push(
      `kafka.sasl.password: given in ${from.startsWith('--') ? 'a flag, which every user of the machine can read' : from}, ` +
        `allowed is the environment (${environmentName('kafka.sasl.password')}), or a file that kafka.sasl.passwordFile names`,
    )
  if (settings['kafka.sasl.mechanism'] === 'off') return problems
  if (settings['kafka.sasl.user'] === '')
    problems.push(`kafka.sasl.mechanism: given ${settings['kafka.sasl.mechanism']}, which needs kafka.sasl.user`)
  if ((settings['kafka.sasl.password'] === '') === (settings['kafka.sasl.passwordFile'] === ''))
    problems.push(
      `kafka.sasl.mechanism: given ${settings['kafka.sasl.mechanism']}, which needs a password, from the environment ` +
        `(${environmentName('kafka.sasl.password')}) or from kafka.sasl.passwordFile, not both`,
    )
  return problems
}

/** Returns the name of the server that messages to be stored go through; undefined: the spool is the queue. */
export function queueServerName(
  settings: Pick<Settings, 'rabbitmq.url' | 'kafka.brokers'>,
): 'RabbitMQ' | 'Kafka' | undefined {
  if (settings['rabbitmq.url'].length > 0) return 'RabbitMQ'
  return settings['kafka.brokers'].length > 0 ? 'Kafka' : undefined
}

const defaultFile = 'telehub.yaml'

function fileValues(file: string | undefined, problems: string[]): [string, unknown][] {
  const path = file ?? defaultFile
  if (!existsSync(path)) {
    if (file !== undefined) problems.push(`--config: there is no file ${show(file)}`)
    return []
  }
  try {
    const parsed: unknown = parseYaml(readFileSync(path, 'utf8')) ?? {}
    if (typeof parsed !== 'object' || Array.isArray(parsed)) throw new Error('it must contain `key: value` lines')
    return flatten(parsed as Record<string, unknown>)
  } catch (error) {
    problems.push(`${path}: ${(error as Error).message.split('\n')[0]}`)
    return []
  }
}

/** Returns where an element of a list is given: the line of a file, else its number. */
function placeOf(from: string, key: string, index: number): string {
  const rule = `rule ${index + 1}`
  if (!existsSync(from)) return `${rule} (${from})`
  const lines = new LineCounter()
  const document = parseDocument(readFileSync(from, 'utf8'), { lineCounter: lines })
  const node = document.getIn([key, index], true)
  const offset = isNode(node) ? node.range?.[0] : undefined
  return offset === undefined ? `${rule} (${from})` : `${from} line ${lines.linePos(offset).line}`
}

/** Flattens nested keys: `mqtt: {port: 1}` and `mqtt.port: 1` are the same setting. The value of a setting may be a map. */
function flatten(values: Readonly<Record<string, unknown>>, prefix = ''): [string, unknown][] {
  return Object.entries(values).flatMap(([name, value]): [string, unknown][] =>
    typeof value === 'object' && value !== null && !Array.isArray(value) && !isSettingKey(prefix + name)
      ? flatten(value as Record<string, unknown>, `${prefix}${name}.`)
      : [[prefix + name, value]],
  )
}

function isSettingKey(key: string): key is SettingKey {
  return Object.hasOwn(settingsTable, key)
}

export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIPv4(host) && host.startsWith('127.'))
}

const show = (value: unknown) => withoutPasswords(JSON.stringify(value) ?? String(value))

/** Hides a user name and password also where a mistyped scheme leaves no URL, as in `amqp//guest:guest@mq`. */
const showUrl = (value: unknown) =>
  show(typeof value === 'string' ? value.replace(/^((?:amqps?|https?):?\/*|[a-z]+:?\/+)?.*@/is, '$1***@') : value)

const listed = 'telehub --help lists them all'

/** Settings that a hint may name: never the one that lets all clients in, as a hint must not lead an operator there. */
const hinted = keys.filter(key => key !== 'auth.anonymous')

const shown = (key: SettingKey, value: unknown = settingsTable[key].default) => {
  if (key === 'mapping' || value === '') return ''
  if ((settingsTable[key].kind as SettingKind<unknown>).isSecret) return '***'
  if (key === 'outlets' || key === 'inlets')
    return (value as readonly OutletSetting[]).map(({ name }) => String(name)).join(', ')
  if (typeof value === 'number' && settingsTable[key].kind.allowed.startsWith('a size')) return showSize(value)
  if (settingsTable[key].kind === (duration as unknown)) return showTime(value as number)
  if (Array.isArray(value)) return value.join(', ')
  if (key === 'store.keep') return showKeep(value as KeepTimes)
  return String(value)
}

/** A setting in effect, for people. */
export interface ListedSetting {
  readonly key: SettingKey
  /** The value as a file has it, without passwords. Empty when there is none, and for the mapping. */
  readonly value: string
  readonly fallback: string
  /** `default`, or the file, the variable or the flag that gives the value. */
  readonly source: string
  /** Name in the environment. */
  readonly variable: string
  readonly help: string
  readonly allowed: string
  /** Whether a change of the file acts without a restart. */
  readonly atOnce: boolean
}

/** Lists all settings with their sources, in the order of the table. */
export function listSettings(settings: Settings): ListedSetting[] {
  const sources = sourcesOf(settings)
  return keys.map(key => ({
    key,
    value: withoutPasswords(shown(key, settings[key])),
    fallback: shown(key),
    source: sources[key] ?? 'default',
    variable: environmentName(key),
    help: settingsTable[key].help,
    allowed: settingsTable[key].kind.allowed,
    atOnce: reloadable.includes(key),
  }))
}

/** The settings part of `--help`. */
export function settingsHelp(): string {
  const width = Math.max(...keys.map(key => key.length))
  return keys
    .map(key => `  --${key.padEnd(width)}  ${settingsTable[key].help}${shown(key) && ` [${shown(key)}]`}`)
    .join('\n')
}

/** The part of a setting's name before the first dot: `limits` of `limits.packet`. */
type Subject = { [K in SettingKey]: K extends `${infer S}.${string}` ? S : K }[SettingKey]

/** Titles of docs/settings.md; settings that follow each other under one title are one settingsTable. */
const chapters: Readonly<Record<Subject, string>> = {
  host: 'Addresses and ports',
  mqtt: 'Addresses and ports',
  mqtts: 'Addresses and ports',
  http: 'Addresses and ports',
  tls: 'TLS',
  data: 'Data folder',
  rabbitmq: 'RabbitMQ',
  kafka: 'Kafka',
  cluster: 'Several hubs',
  influx: 'InfluxDB',
  store: 'Stored readings',
  export: 'Stored readings',
  auth: 'Users and logins',
  audit: 'Audit log',
  commands: 'Commands',
  spool: 'Spool',
  dead: 'Dead letters',
  alerts: 'Alerts',
  limits: 'Limits',
  proxy: 'Proxies',
  ws: 'WebSocket',
  sys: 'Statistics under $SYS',
  sparkplug: 'Sparkplug B',
  mapping: 'Payloads and mapping',
  presets: 'Payloads and mapping',
  time: 'Payloads and mapping',
  values: 'Payloads and mapping',
  inlets: 'Inlets',
  outlets: 'Outlets',
  notify: 'Notifications',
  otel: 'OpenTelemetry',
  log: 'Log',
  start: 'Start and stop',
  shutdown: 'Start and stop',
}

/** The tables of docs/settings.md, one for each title. */
export function settingsMarkdown(): string {
  const lines: string[] = []
  let title = ''
  for (const key of keys) {
    const chapter = chapters[key.split('.')[0] as Subject]
    if (chapter !== title) {
      lines.push(
        ...(title ? [''] : []),
        `## ${chapter}`,
        '',
        '| setting | default | what it does | allowed |',
        '|---|---|---|---|',
      )
      title = chapter
    }
    const { kind, help } = settingsTable[key]
    lines.push(
      `| \`${key}\` | ${shown(key) && `\`${shown(key)}\``} | ${help} | ${kind.allowed.replaceAll('|', '\\|')} |`,
    )
  }
  return lines.join('\n')
}

/** Returns a variable of the environment, for a file whose values name one. */
export function environmentValue(name: string): string | undefined {
  return process.env[name]
}
