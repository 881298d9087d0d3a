import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { type Command, command, helpOf, parseCommand } from '../../src/cli/command.js'
import { commands } from '../../src/cli/commands.js'
import { nearest } from '../../src/runtime/nearest.js'
import { runCli } from '../harness.js'
import { tempDir } from '../services/service.js'

const overview = () => 'all commands'
const parse = (...argv: readonly string[]) => parseCommand(commands, argv, overview)

t.test('every command has a help with its synopsis, its flags and an example that the parser accepts', async t => {
  for (const one of commands) {
    const words = one.name.split(' ')
    const help = parse(...words, '--help')
    t.ok('help' in help && help.help.startsWith(`telehub ${one.name}`), one.name)
    const text = helpOf(one)
    for (const flag of Object.keys(one.flags ?? {})) t.match(text, `--${flag}`, `${one.name} --${flag}`)
    t.ok(one.examples.length > 0, one.name)
    for (const example of one.examples) {
      const argv = [...example.matchAll(/"([^"]*)"|'([^']*)'|(\S+)/g)].map(([, ...given]) => given.find(Boolean) ?? '')
      t.equal(argv.shift(), 'telehub', example)
      const parsed = parse(...argv)
      t.ok('command' in parsed && parsed.command === one, example)
      t.same('mistakes' in parsed && parsed.mistakes, [], example)
    }
    t.notMatch(text, / $/m, 'no line ends with a space')
  }
  t.same(parse('--help'), { help: 'all commands' })
  t.match(parse('user', '--help'), { help: /telehub user add NAME.*telehub user key list/s })
  t.same(parse('--version'), { version: true })
})

t.test('a mistake says what was given, what is allowed and what may be meant', async t => {
  const cases: readonly [argv: readonly string[], sentence: RegExp][] = [
    [['chekc'], /^unknown command "chekc"; did you mean "check"\?; allowed are check, doctor, /],
    [['user', 'ad', 'x'], /^unknown command "user ad x"; did you mean "user add"\?; allowed are user add, user passwd/],
    [['spool', 'reply'], /did you mean "spool replay"\?/],
    [['xyzzy'], /^unknown command "xyzzy"; allowed are/],
    [['user', 'grant', 'a'], /^telehub user grant needs VERB FILTER; telehub user grant --help shows its use$/],
    [['dead', 'show'], /^telehub dead show needs ID/],
    [['dead', 'show', ''], /^ID: given "", it needs a value/],
    [['dead', 'list', 'x'], /^telehub dead list takes no "x"/],
    [['dead', 'list', '--limit'], /^--limit: given nothing, it needs a value$/],
    [['dead', 'list', '--from', '--to'], /^--from: given "--to", it needs a value$/],
    [['dead', 'list', '--limit', '1', '--limit', '2'], /^--limit: given twice, allowed is once$/],
    [['dead', 'drop', '--yes=no'], /^--yes: given "no", but it takes no value$/],
  ]
  for (const [argv, message] of cases) t.throws(() => parse(...argv), { code: 'bad_settings', message }, argv.join(' '))
  const mistakesOf = (...argv: readonly string[]) => {
    const parsed = parse(...argv)
    return 'mistakes' in parsed ? parsed.mistakes : []
  }
  t.match(mistakesOf('dead', 'list', '--reson', 'x'), [
    /^--reson: telehub dead list has no such flag; did you mean --reason\?; allowed are --outlet, --reason, .*and the settings$/,
  ])
  t.match(mistakesOf('dead', 'list', '--mqtt.prot', '1', '--days', '2'), [
    /did you mean --mqtt\.port\?/,
    /^--days: telehub dead list has no such flag; allowed are/,
  ])
  t.match(mistakesOf('cert', '--mqtt.port', '1'), [/^--mqtt\.port: telehub cert has no such flag; allowed are --dir, /])
})

t.test('flags may stand anywhere, and mean what the command says', async t => {
  const own: Command[] = [
    command({ name: 'one', flags: { deny: { help: '' } }, summary: '', examples: [], run: () => 0 }),
    command({
      name: 'two',
      takes: ['[ID]'],
      flags: { deny: { value: 'RULE', isRepeated: true, help: '' } },
      summary: '',
      examples: [],
      run: () => 0,
    }),
  ]
  const flagsOf = (...argv: readonly string[]) => {
    const parsed = parseCommand(own, argv, overview)
    return 'flags' in parsed ? [parsed.args, { ...parsed.flags }, { ...parsed.settings }, parsed.config] : parsed
  }
  t.same(flagsOf('one', '--deny'), [[], { deny: true }, {}, undefined])
  t.same(flagsOf('two', '--deny', 'a', 'x', '--deny', 'b'), [['x'], { deny: ['a', 'b'] }, {}, undefined])
  t.same(flagsOf('--config', 'f', '--mqtt.port', '1', 'two'), [[], {}, { 'mqtt.port': '1' }, 'f'])
})

t.test('the nearest name', async t => {
  const names = ['start', 'user', 'mqtt.port', 'rabbitmq.url', 'influx.url']
  for (const [word, meant] of [
    ['strat', 'start'],
    ['usre', 'user'],
    ['mqtt.prot', 'mqtt.port'],
    ['rabbit.url', 'rabbitmq.url'],
    ['INFLUX', 'influx.url'],
    ['zz', undefined],
    ['', undefined],
  ] as const) {
    t.equal(nearest(word, names), meant, word)
  }
  t.equal(nearest('x', []), undefined)
})

t.test('the program prints help on stdout, and mistakes with status 2 and those of the settings', async t => {
  const dir = await tempDir()
  writeFileSync(join(dir, 'telehub.yaml'), 'mqtt: {port: none}\n')
  const help = runCli(['user', 'key', 'add', '--help'], {}, dir)
  t.equal(await help.exited, 0)
  t.match(help.stdout(), /^telehub user key add NAME \[flags\]\n.*--label TEXT.*\nExample\n {2}telehub user key add /s)
  const wrong = runCli(['dead', 'list', '--reson', 'x'], {}, dir)
  t.equal(await wrong.exited, 2)
  t.match(wrong.stderr(), /^telehub: --reson: .*did you mean --reason.*\ntelehub: mqtt\.port: given "none"/)
})
