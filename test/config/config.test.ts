import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import {
  listSettings,
  loadSettings,
  type SettingsSources,
  settingKeys,
  settingsHelp,
  settingsMarkdown,
} from '../../src/config/config.js'
import { ruleMistakes } from '../../src/config/settings.js'
import { describe, type HubError, withoutPasswords } from '../../src/errors.js'
import { tempDir } from '../services/service.js'

async function file(text: string): Promise<string> {
  const path = join(await tempDir(), 'telehub.yaml')
  writeFileSync(path, text)
  return path
}

function problems(sources: SettingsSources): string[] {
  try {
    loadSettings(sources)
    return []
  } catch (error) {
    t.equal((error as HubError).code, 'bad_settings')
    return (error as HubError).message.split('\n')
  }
}

t.test('file < environment < flags, dotted or nested', async t => {
  const path = await file('mqtt:\n  port: 1\nhttp.port: 2\ndata: {dir: /x}\nspool.limit: 5GB\nshutdown.timeout: 2s\n')
  const settings = loadSettings({
    file: path,
    environment: { TELEHUB_HTTP_PORT: '3', TELEHUB_DATA_DIR: '/y', OTHER: 'z' },
    flags: { 'data.dir': '/z' },
  })
  t.equal(settings['mqtt.port'], 1)
  t.equal(settings['http.port'], 3)
  t.equal(settings['data.dir'], '/z')
  t.equal(settings['spool.limit'], 5e9)
  t.equal(settings['shutdown.timeout'], 2_000)
  t.equal(loadSettings({})['mqtt.port'], 1883)
})

t.test('all mistakes at once, each with what was given and what is allowed', async t => {
  const found = problems({
    file: await file('mqtt.prot: 1\nspool.fsync: never\nlimits: {packet: tiny}\n'),
    environment: { TELEHUB_HTTP_PRT: '1', TELEHUB_INFLUX_URL: 'ftp://x' },
    flags: { 'mqtt.port': '99999', 'rabbitmq.url': 'nonsense', 'shutdown.timeout': 'soon', 'http.port': true },
  })
  t.equal(found.length, 9, found.join('\n'))
  const has = (pattern: RegExp) =>
    t.ok(
      found.some(line => pattern.test(line)),
      String(pattern),
    )
  has(/mqtt\.prot.*did you mean mqtt\.port/)
  has(/spool\.fsync: given "never" .*allowed is one of group, interval/)
  has(/limits\.packet: given "tiny"/)
  has(/TELEHUB_HTTP_PRT: no such setting.*TELEHUB_HTTP_PORT/)
  has(/influx\.url: given "ftp:\/\/x" \(TELEHUB_INFLUX_URL\), allowed is .*http:/)
  has(/mqtt\.port: given "99999" \(--mqtt\.port\), allowed is off or a port from 0 to 65535/)
  has(/rabbitmq\.url/)
  has(/shutdown\.timeout.*500ms/)
  has(/http\.port: given true/)
})

t.test('a name that is no setting: the nearest one, when it is near, and never one that lets everyone in', async t => {
  const hint = (flag: string) => problems({ flags: { [flag]: 'x' } })[0]
  t.match(hint('mqtt.prot'), /; did you mean mqtt\.port\?$/)
  t.match(hint('fsync'), /; did you mean spool\.fsync\?$/)
  for (const flag of ['bogus', 'x', 'anonymous', 'auth.anonymus', 'auth_anonymous']) {
    t.equal(hint(flag), `--${flag}: no such setting; telehub --help lists them all`)
  }
  const [found] = problems({ environment: { TELEHUB_AUTH_ANONYMUS: 'true' } })
  t.equal(found, 'TELEHUB_AUTH_ANONYMUS: no such setting; telehub --help lists them all')
})

t.test('a host others can reach needs a word that this is meant', async t => {
  t.match(problems({ flags: { host: '0.0.0.0' } })[0], /host: given "0\.0\.0\.0".*auth\.anonymous/)
  t.same(problems({ flags: { host: '0.0.0.0', 'auth.anonymous': 'true' } }), [])
  for (const host of ['127.0.0.1', '::1', 'localhost', '127.1.2.3']) t.same(problems({ flags: { host } }), [], host)
})

t.test('what belongs together, and a size that is none', async t => {
  t.match(problems({ flags: { 'rabbitmq.record': 'false' } })[0], /rabbitmq\.record: .* needs rabbitmq\.url/)
  t.match(
    problems({ flags: { 'export.nightly': 'days', 'influx.url': 'http://127.0.0.1:8086/x' } })[0],
    /export\.nightly: .* embedded store/,
  )
  t.same(problems({ flags: { host: '0.0.0.0' }, serves: false }), [], 'who does not listen needs no care who may come')
  for (const given of ['lots', '-1', '10XB']) {
    t.match(
      problems({ flags: { 'spool.keepBytes': given } })[0],
      /^spool\.keepBytes: given ".*" \(--spool\.keepBytes\), allowed is a size/,
      given,
    )
  }
})

t.test('a file that is missing or broken is said so', async t => {
  t.match(problems({ file: '/no/such.yaml' })[0], /there is no file "\/no\/such\.yaml"/)
  t.match(problems({ file: await file('a: [1') })[0], /telehub\.yaml: /)
  t.match(problems({ file: await file('- 1') })[0], /key: value/)
})

t.test('mapping rules are checked', async t => {
  const good = loadSettings({
    file: await file('mapping:\n  - {topic: "a/{b}/#", measurement: "m_{b}", tags: [b], units: {x: bar}}\n'),
  })
  t.equal(good.mapping[0]?.topic, 'a/{b}/#')
  for (const bad of [
    '{topic: "a/{b", measurement: m}',
    '{topic: a}',
    '{topic: a, measurement: "{x}"}',
    '{topic: "{a}", measurement: m, tags: [b]}',
    '{topic: a, measurement: m, colour: red}',
    '{topic: a, measurement: m, decoder: xml}',
    '{topic: a, measurement: m, fields: {a: 1}}',
    'text',
  ]) {
    t.match(problems({ file: await file(`mapping: [${bad}]`) })[0], /^mapping: .*telehub\.yaml line 1: /, bad)
  }
})

t.test('all mistakes of a mapping at once, each with its line', async t => {
  const path = await file(
    'mapping:\n  - {topic: "a/{b}", measurement: m, colour: red, zone: Mars}\n  - {topic: ok, measurement: m}\n  -\n    topic: c\n    ignore: maybe\n',
  )
  const found = problems({ file: path })
  t.match(found, [/line 2: colour: no such option/, /line 2: zone: /, /line 5: ignore: /, /line 5: measurement: /])
  const options = 'drop: ["a*"], types: {v: text}, onChange: {heartbeat: 10m}, deadband: 0.5, every: 10s, each: id'
  t.ok(
    loadSettings({
      file: await file(`mapping: [{topic: "a/{b...}", measurement: m, tags: [b, payload.x], ${options}}]`),
    }),
  )
  t.ok(loadSettings({ file: await file('mapping: [{topic: a, ignore: true}]') }))
})

t.test('no password of a URL in what is said of it', async t => {
  for (const given of [
    'amqp//guest:hunter2@mq',
    'amqp:guest:hunter2@mq:5672',
    'ftp://guest:hunter2@mq/vhost',
    'http://guest:a/b@hunter2 @influx:8086/db?x=',
    ':hunter2@mq',
  ]) {
    for (const flags of [
      { 'rabbitmq.url': given },
      { 'influx.url': `wss://${given}` },
      { host: `http://a:hunter2@b` },
    ]) {
      const [sentence = ''] = problems({ flags })
      t.match(sentence, /\*\*\*@/, sentence)
      t.notMatch(sentence, 'hunter2', sentence)
    }
  }
  const error = new AggregateError([new Error('connect failed: amqp://guest:hunter2@mq:5672')], '')
  t.equal(describe(error), 'connect failed: amqp://***@mq:5672')
  const line = JSON.stringify({ msg: 'no answer of http://a:hunter"2@x:1/y', from: 'c@d' })
  t.same(JSON.parse(withoutPasswords(line)), { msg: 'no answer of http://***@x:1/y', from: 'c@d' })
})

t.test('a list of the nodes of RabbitMQ, as a text or a list; every password is hidden', async t => {
  const [one, other] = ['amqp://guest:hunter2@mq1', 'amqps://guest:hunter3@mq2:5671/v']
  for (const given of [`${one},${other}`, ` ${one} , ${other}`, [one, other]]) {
    const settings = loadSettings({ flags: { 'rabbitmq.url': given as string } })
    t.same(settings['rabbitmq.url'], [one, other])
    const shown = listSettings(settings).find(({ key }) => key === 'rabbitmq.url')?.value
    t.equal(shown, 'amqp://***@mq1, amqps://***@mq2:5671/v')
  }
  t.same(loadSettings({ flags: { 'rabbitmq.url': '' } })['rabbitmq.url'], [])
  for (const given of [`${one},mq2`, `${one},http://guest:hunter3@mq2`, `${one} ${other}`]) {
    const [sentence = ''] = problems({ flags: { 'rabbitmq.url': given } })
    t.match(sentence, /rabbitmq\.url: given .*, allowed is empty, or a URL that begins with amqp/, sentence)
    t.notMatch(sentence, /hunter/, sentence)
  }
  t.equal(
    withoutPasswords(`no answer of ${one},${other}: timeout`),
    'no answer of amqp://***@mq1,amqps://***@mq2:5671/v: timeout',
  )
})

t.test('help and docs/settings.md name every setting', async t => {
  for (const key of settingKeys) {
    t.ok(settingsHelp().includes(`--${key} `), key)
    t.ok(settingsMarkdown().includes(`\`${key}\``), key)
  }
  t.match(settingsHelp(), /spool\.limit .*\[10GB\]/)
  t.match(settingsHelp(), /shutdown\.timeout .*\[10s\]/)
})

t.test('client certificates are asked for on mqtts.port alone, and that it is there', async t => {
  const flags = { 'tls.cert': 'a.pem', 'tls.key': 'a.key', 'tls.ca': 'ca.pem' }
  const message = 'tls.ca: given "ca.pem", which needs mqtts.port: clients are asked for certificates only there'
  t.throws(() => loadSettings({ flags }), { code: 'bad_settings', message })
  t.equal(loadSettings({ flags: { ...flags, 'mqtts.port': '0' } })['tls.clients'], 'required')
})

t.test('times to keep: as a map in the file, as a text in environment and flags', async t => {
  const path = await file('store:\n  keep: {raw: 90d, 1m: 2y, 1h: forever}\n')
  const day = 864e5
  const all = { raw: 90 * day, '1m': 730 * day, '1h': Number.POSITIVE_INFINITY }
  t.same(loadSettings({ file: path })['store.keep'], all)
  t.same(loadSettings({ flags: { 'store.keep': 'raw=90d, 1m: 2y,1h=forever' } })['store.keep'], all)
  t.equal(
    listSettings(loadSettings({ file: path })).find(({ key }) => key === 'store.keep')?.value,
    'raw=90d,1m=2y,1h=forever',
  )
  for (const given of ['raw=1h', 'raw', '2h=1d', 'raw=90d,1m=30d', '1m=30d', 'raw=90d,raw=1d', 'raw=ever']) {
    t.throws(
      () => loadSettings({ flags: { 'store.keep': given } }),
      /store\.keep: given .*, allowed is times such as/,
      given,
    )
  }
})

t.test('keep of a mapping rule: a list is of fields, a map of times', async t => {
  const rule = { topic: 'a/{b}', measurement: 'm' }
  t.same(ruleMistakes({ ...rule, keep: ['temp*'] }), [])
  t.same(ruleMistakes({ ...rule, keep: { raw: '90d', '1h': 'forever' } }), [])
  t.match(ruleMistakes({ ...rule, keep: { raw: 'soon' } }), [
    { key: 'keep', sentence: /given \{"raw":"soon"\}, allowed is a list of fields.*, or times such as/ },
  ])
  t.match(ruleMistakes({ ...rule, keep: 'raw=90d' }), [{ key: 'keep' }])
  t.match(ruleMistakes({ ...rule, decoder: 'line', keep: { raw: '90d' } }), [
    { key: 'keep', sentence: /not lines: use store.keep/ },
  ])
})
