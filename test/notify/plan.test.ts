import { chmodSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { NotifyPlan } from '../../src/notify/plan.js'
import { parsePlan, readPlan } from '../../src/notify/plan-file.js'
import { parseWeekSpan, WeekTime } from '../../src/runtime/week-time.js'
import { tempDir } from '../services/service.js'

const environment = (name: string) => ({ SMTP_PASSWORD: 'hunter2hunter2', TOKEN: '123:abc' })[name]

const whole = `
url: https://hub.example.org/
contact: mailto:ops@example.org
timeZone: Europe/Berlin
targets:
  phone: { type: web-push, users: [anna] }
  mail:
    type: email
    host: mail.example.org
    user: hub
    password: \${SMTP_PASSWORD}
    from: telehub <hub@example.org>
    to: [ops@example.org]
  telegram:
    type: webhook
    url: https://api.telegram.org/bot\${TOKEN}/sendMessage
    body: '{"chat_id": "42", "text": "{{title}}\\n{{text}}"}'
  bus: { type: mqtt, topic: home/alerts, retain: true }
routes:
  - severity: critical
    targets: [phone, telegram]
    group: 10s
    escalate: { after: 15m, to: mail }
  - when: mon-fri 08:00-18:00
    states: firing, acknowledged, cleared
    targets: mail
`

t.test('a whole file', async t => {
  const plan = parsePlan(whole, environment, 'UTC') as NotifyPlan
  t.same([...plan.targets.keys()], ['phone', 'mail', 'telegram', 'bus'])
  t.match(plan, { url: 'https://hub.example.org', zone: 'Europe/Berlin', contact: 'mailto:ops@example.org' })
  t.match(plan.targets.get('telegram'), { url: 'https://api.telegram.org/bot123:abc/sendMessage' })
  t.match(plan.targets.get('mail'), { port: 587, security: 'starttls', password: 'hunter2hunter2' })
  t.match(plan.routes[0], { severities: ['critical'], group: 10_000, escalate: [{ after: 900_000, to: ['mail'] }] })
  t.match(plan.routes[1], { severities: ['info', 'warning', 'critical'], targets: ['mail'] })
  t.ok(plan.secrets.includes('hunter2hunter2') && plan.secrets.includes('123:abc'))
})

t.test('all mistakes at once, and no secret in them', async t => {
  const { faults } = parsePlan(
    `
targets:
  mail: { type: email, host: 'a b', password: sesame-open, from: nobody, to: x@y }
  hook: { type: webhook, url: ftp://user:sesame-open@host, secret: '\${NOT_SET}', headers: { Host: x } }
  json: { type: webhook, url: http://host, body: '{"text": {{title}}, "x": "{{nothing}}"}' }
  bus: { type: mqtt, topic: 'a/#', qos: 3 }
  2nd: { type: pigeon }
routes:
  - { targets: [mial], severity: fatal, when: 8-18, group: 2d }
  - { target: mail }
tragets: {}
`,
    environment,
    'UTC',
  ) as { faults: readonly string[] }
  const all = faults.join('\n')
  t.notMatch(all, /sesame/)
  for (const place of [
    /targets\.mail\.host: given "a b"/,
    /targets\.mail\.from: /,
    /targets\.mail\.user: user and password need each other/,
    /targets\.hook\.url: not allowed/,
    /targets\.hook\.secret: "\$\{NOT_SET\}" is not set/,
    /targets\.hook\.headers\.Host: /,
    /targets\.json\.body: there is no \{\{nothing\}\}/,
    /targets\.json\.body: filled in, this is not valid JSON/,
    /targets\.bus\.topic: given "a\/#"/,
    /targets\.bus\.qos: given "3"/,
    /targets\.2nd: a name /,
    /targets\.2nd\.type: given "pigeon"/,
    /routes\.1\.targets: there is no target mial/,
    /routes\.1\.severity: given "fatal"/,
    /routes\.1\.when: given "8-18"/,
    /routes\.1\.group: given "2d"/,
    /routes\.2\.target: no such field; did you mean targets\?/,
    /routes\.2\.targets: given nothing/,
    /tragets: no such field; did you mean targets\?/,
  ]) {
    t.match(all, place)
  }
})

t.test('what is not YAML is not quoted', async t => {
  const text = 'targets:\n  mail: {type: email, password: "sesame-open\n'
  const { faults } = parsePlan(text, environment, 'UTC') as { faults: readonly string[] }
  t.match(faults, [/^line \d+ is not valid YAML/])
  t.notMatch(faults.join(), /sesame/)
})

t.test('a file that others may read is refused, with the reason', async t => {
  const file = join(await tempDir(), 'notify.yaml')
  t.throws(() => readPlan(file, environment, 'UTC'), /there is no file/)
  writeFileSync(file, whole, { mode: 0o640 })
  t.throws(() => readPlan(file, environment, 'UTC'), /other users of this machine may read it.*chmod 600/)
  chmodSync(file, 0o600)
  t.equal(readPlan(file, environment, 'UTC').targets.size, 4)
  writeFileSync(file, 'targets: 7\nroutes: 8\n')
  t.throws(() => readPlan(file, environment, 'UTC'), /notify\.yaml: targets: .*\nnotify\.yaml: routes: /s)
})

t.test('spans of the week', async t => {
  const at = (iso: string, text: string, zone = 'UTC') => {
    const span = parseWeekSpan(text)
    return span && new WeekTime(zone).isWithin([span], Date.parse(iso) * 1_000)
  }
  const monday = '2026-11-30T'
  for (const [iso, text, isIn] of [
    [`${monday}08:00Z`, 'mon-fri 08:00-18:00', true],
    [`${monday}18:00Z`, 'mon-fri 08:00-18:00', false],
    ['2026-11-29T10:00Z', 'mon-fri 08:00-18:00', false],
    ['2026-11-29T10:00Z', 'sat,sun', true],
    [`${monday}23:00Z`, '22:00-06:00', true],
    [`${monday}06:00Z`, '22:00-06:00', false],
    // Sunday night is still the span that began on Sunday.
    [`${monday}05:59Z`, 'sun 22:00-06:00', true],
    [`${monday}23:00Z`, 'sun 22:00-06:00', false],
    ['2026-11-29T10:00Z', 'Saturday , sun', true],
    [`${monday}08:30Z`, 'mon - fri 8:00 - 9:00', true],
    [`${monday}08:30Z`, 'tues 8:00-9:00', false],
    ['2026-11-29T12:00Z', 'fri-mon', true],
    ['2026-12-02T12:00Z', 'fri-mon', false],
  ] as const) {
    t.equal(at(iso, text), isIn, `${iso} ${text}`)
  }
  t.equal(at(`${monday}07:30Z`, '08:00-09:00', 'Europe/Berlin'), true)
  t.equal(at('2026-07-06T06:30Z', 'mon 08:00-09:00', 'Europe/Berlin'), true, 'summer time')
  for (const wrong of ['', 'mon-', 'xyz', 'mo', 'monkey', '08:00-08:00', '25:00-26:00', 'mon tue', '08:00']) {
    t.equal(parseWeekSpan(wrong), undefined, wrong)
  }
})
