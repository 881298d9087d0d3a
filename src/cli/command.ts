import { type ParseArgsConfig, parseArgs } from 'node:util'
import { settingKeys } from '../config/config.js'
import type { Settings } from '../config/settings.js'
import { HubError } from '../errors.js'
import { nearest } from '../runtime/nearest.js'

/*
 * A command declares its words, arguments, flags and examples once: they are what the parser takes, what
 * `telehub COMMAND --help` shows, and the types of what the command is called with.
 */

export interface Flag {
  /** The value in the help, such as FILE. A flag without one is on or off. */
  readonly value?: string
  readonly isRepeated?: boolean
  readonly help: string
}

export type Flags = Readonly<Record<string, Flag>>

/** Values of flags. A flag that was not given is undefined. */
export type FlagValues<F extends Flags> = {
  readonly [Name in keyof F]?: F[Name] extends { readonly isRepeated: true }
    ? readonly string[]
    : F[Name] extends { readonly value: string }
      ? string
      : true
}

export interface Terminal {
  readonly out: (text: string) => void
  /** Shows progress by overwriting the last progress line; silent where the output does not allow that. */
  readonly progress: (text: string) => void
  /** Milliseconds since the epoch. */
  readonly now: () => number
  /** Whether the command can ask the operator on a terminal. */
  readonly asks: boolean
}

/** A command as called. */
export interface Call<F extends Flags = Flags> {
  /** One for each of the arguments of the command; an optional one that was not given is missing at the end. */
  readonly args: readonly string[]
  readonly flags: FlagValues<F>
  /** Settings of file, environment and flags. */
  readonly settings: () => Settings
  /** Reads them again; `serves` as for a hub. Throws all mistakes as one `HubError`. */
  readonly load: (serves: boolean) => Settings
  /** Path of the settings file. */
  readonly settingsFile: string
  /** TELEHUB_KEY of the environment. */
  readonly environmentKey: string | undefined
  readonly terminal: Terminal
  /** Version of telehub. */
  readonly version: string
}

export interface Command<F extends Flags = Flags> {
  /** Words of the command: `user key add`. */
  readonly name: string
  /** Other words for the same command. */
  readonly alias?: string
  /** Names of the arguments; optional ones in brackets: `[ID]`. */
  readonly takes?: readonly string[]
  /** What the command does, in a line. */
  readonly summary: string
  /** More for the help of the command. */
  readonly about?: string
  readonly flags?: F
  readonly examples: readonly string[]
  /**
   * How the settings are used. `serves`: checked as for a hub · `asks` (default): which clients may connect is not checked ·
   * `own`: read by the command itself · `none`: not used, so no setting is a flag.
   */
  readonly settings?: 'serves' | 'asks' | 'own' | 'none'
  /** Resolves with the exit code. */
  readonly run: (call: Call<F>) => Promise<number> | number
}

/** Returns a command, for a table of commands with different flags. */
export function command<const F extends Flags>(declared: Command<F>): Command {
  return declared as unknown as Command
}

/** What the arguments of the process ask for. */
export type Parsed =
  | { readonly help: string }
  | { readonly version: true }
  | {
      readonly command: Command
      readonly args: readonly string[]
      readonly flags: FlagValues<Flags>
      /** Settings given as flags, and the file of `--config`. */
      readonly settings: Readonly<Record<string, unknown>>
      readonly config: string | undefined
      /** Flags that the command does not take, a sentence each. */
      readonly mistakes: readonly string[]
    }

type Options = NonNullable<ParseArgsConfig['options']>

const globalOptions: Options = {
  config: { type: 'string' },
  help: { type: 'boolean', short: 'h' },
  version: { type: 'boolean' },
}

/** Parses the arguments of the process. Throws a `HubError` for a command that does not exist, or is called wrongly. */
export function parseCommand(commands: readonly Command[], argv: readonly string[], overview: () => string): Parsed {
  const settings: Options = Object.fromEntries(settingKeys.map(key => [key, { type: 'string' }]))
  const all: Options = Object.assign({}, ...commands.map(({ flags = {} }) => optionsOf(flags)), settings, globalOptions)
  // The flags depend on the command, and which words are the command depends on which flags take a value.
  const first = parse(argv, all)
  const words = first.positionals.length > 0 ? first.positionals : ['start']
  if (first.values.version) return { version: true }
  const found = findCommand(commands, words)
  if (first.values.help) {
    if (first.positionals.length === 0) return { help: overview() }
    if (found) return { help: helpOf(found.command) }
    const group = groupOf(commands, words)
    if (group.length > 0) return { help: groupHelp(group) }
  }
  if (!found) throw unknownCommand(commands, words)
  const { command, length } = found
  const own = command.flags ?? {}
  const takesSettings = command.settings !== 'none'
  const { values, positionals, tokens } = parse(argv, { ...all, ...optionsOf(own) })
  const { help: _help, version: _version, config, ...given } = values
  const mistakes: string[] = []
  const flags: Record<string, unknown> = {}
  const ofSettings: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(given)) {
    if (Object.hasOwn(own, name)) flags[name] = checked(name, own[name] as Flag, value, tokens)
    else if (takesSettings && Object.hasOwn(settings, name)) ofSettings[name] = value
    else mistakes.push(unknownFlag(command, name, Object.keys(all)))
  }
  const args = positionals.slice(length)
  // A value behind a flag that does not exist would be taken for an argument.
  if (mistakes.length === 0) checkArguments(command, args)
  return {
    command,
    args,
    flags: flags as FlagValues<Flags>,
    settings: ofSettings,
    config: typeof config === 'string' ? config : undefined,
    mistakes,
  }
}

/** Returns the command that the words begin with, and how many of them are the name. */
function findCommand(commands: readonly Command[], words: readonly string[]) {
  for (const command of commands) {
    for (const name of [command.name, ...(command.alias === undefined ? [] : [command.alias])]) {
      const { length } = name.split(' ')
      if (name !== words.slice(0, length).join(' ')) continue
      // A word behind `spool`, which takes no argument, is meant as one of the commands `spool …`.
      const isGroup = length === 1 && groupOf(commands, words).length > 1
      if (!isGroup || words.length === 1 || command.takes) return { command, length }
    }
  }
  return undefined
}

function optionsOf(flags: Flags): Options {
  return Object.fromEntries(
    Object.entries(flags).map(([name, { value, isRepeated }]) => [
      name,
      { type: value === undefined ? 'boolean' : 'string', ...(isRepeated && { multiple: true }) },
    ]),
  )
}

function parse(args: readonly string[], options: Options) {
  return parseArgs({ args: [...args], strict: false, allowPositionals: true, tokens: true, options })
}

/** Returns the value of a flag of the command. Throws when there is none, or there are two. */
function checked(name: string, flag: Flag, given: unknown, tokens: ReturnType<typeof parse>['tokens']): unknown {
  if (!flag.isRepeated && tokens.filter(token => token.kind === 'option' && token.name === name).length > 1) {
    throw usage(`--${name}: given twice, allowed is once`)
  }
  if (flag.value === undefined) {
    if (given === true) return true
    throw usage(`--${name}: given ${JSON.stringify(given)}, but it takes no value`)
  }
  for (const one of [given].flat()) {
    if (typeof one === 'string' && one !== '' && !one.startsWith('--')) continue
    throw usage(`--${name}: given ${typeof one === 'string' ? JSON.stringify(one) : 'nothing'}, it needs a value`)
  }
  return given
}

function checkArguments(command: Command, args: readonly string[]): void {
  const { name, takes = [] } = command
  const missing = takes.slice(args.length).filter(one => !one.startsWith('['))
  if (missing.length > 0) throw usage(`telehub ${name} needs ${missing.join(' ')}`, name)
  const more = args[takes.length]
  if (more !== undefined) throw usage(`telehub ${name} takes no ${JSON.stringify(more)}`, name)
  const empty = args.indexOf('')
  if (empty >= 0) throw usage(`${takes[empty]}: given "", it needs a value`, name)
}

function unknownCommand(commands: readonly Command[], words: readonly string[]): HubError {
  const group = groupOf(commands, words)
  const depth = group.length > 0 ? 3 : 1
  const given = words.slice(0, depth).join(' ')
  const allowed = group.length > 0 ? group.map(({ name }) => name) : [...new Set(commands.map(firstWord))]
  const meant = nearest(given, allowed)
  const where = group.length > 0 ? `telehub ${words[0]} --help` : 'telehub --help'
  return new HubError(
    'bad_settings',
    `unknown command ${JSON.stringify(given)}${meant === undefined ? '' : `; did you mean "${meant}"?`}` +
      `; allowed are ${allowed.join(', ')}; ${where} describes them`,
  )
}

function unknownFlag({ name, flags = {}, settings }: Command, given: string, all: readonly string[]): string {
  const own = Object.keys(flags)
  const ofSettings = settings === 'none' ? [] : settingKeys.filter(key => key !== 'auth.anonymous')
  const meant = all.includes(given) ? undefined : nearest(given, [...own, ...ofSettings])
  const hint = meant === undefined ? '' : `; did you mean --${meant}?`
  const allowed =
    own.length > 0 ? `allowed are ${own.map(flag => `--${flag}`).join(', ')}` : 'it has no flags of its own'
  const more = settings === 'none' ? '' : own.length > 0 ? ' and the settings' : ', allowed are the settings'
  return `--${given}: telehub ${name} has no such flag${hint}; ${allowed}${more}`
}

const firstWord = ({ name }: Command) => name.split(' ')[0] as string

/** Returns the commands that begin with the same word. */
function groupOf(commands: readonly Command[], [word]: readonly string[]): readonly Command[] {
  return commands.filter(command => firstWord(command) === word)
}

const synopsis = ({ name, takes = [] }: Command) => ['telehub', name, ...takes].join(' ')
const flagText = (name: string, { value }: Flag) => `--${name}${value === undefined ? '' : ` ${value}`}`

/** Returns a line for each command. */
export function commandLines(commands: readonly Command[]): string {
  const width = Math.max(...commands.map(one => synopsis(one).length))
  return commands.map(one => `  ${synopsis(one).padEnd(width)}  ${one.summary}`).join('\n')
}

function groupHelp(group: readonly Command[]): string {
  return `${commandLines(group)}\n\ntelehub COMMAND --help shows the flags of each, with an example.\n`
}

export function helpOf(command: Command): string {
  const { summary, about, flags = {}, examples, settings } = command
  const rows = Object.entries(flags).map(([flag, declared]) => {
    const repeated = declared.isRepeated ? ' (may be repeated)' : ''
    return [flagText(flag, declared), `${declared.help}${repeated}`] as const
  })
  const width = Math.max(...rows.map(([flag]) => flag.length))
  return [
    `${synopsis(command)}${rows.length > 0 ? ' [flags]' : ''}`,
    `  ${summary}`,
    ...(about === undefined ? [] : ['', ...about.split('\n').map(line => `  ${line}`)]),
    ...(rows.length > 0 ? ['', 'Flags'] : []),
    ...rows.map(([flag, help]) => `  ${flag.padEnd(width)}  ${help}`),
    '',
    examples.length > 1 ? 'Examples' : 'Example',
    ...examples.map(example => `  ${example}`),
    ...(settings === 'none'
      ? []
      : [
          '',
          `Settings are flags, too, such as --data.dir DIR; --config FILE names a settings file. telehub --help lists them.`,
        ]),
    '',
  ].join('\n')
}

/** Returns the error of a command that is called wrongly. With a name the error says where the use is described. */
export function usage(sentence: string, name?: string): HubError {
  return new HubError(
    'bad_settings',
    name === undefined ? sentence : `${sentence}; telehub ${name} --help shows its use`,
  )
}
