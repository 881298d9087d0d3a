import { existsSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { connectMqtt, eventually, history, metric, runCli, startHub } from '../harness.js'

const mapping = (measurement: string) =>
  `mapping: [{topic: "home/{room}/{device}/telemetry", measurement: ${measurement}}]`

t.test('SIGHUP reads the settings again, while clients stay connected', async t => {
  const dir = t.testdir()
  const file = join(dir, 'telehub.yaml')
  writeFileSync(file, `log.level: info\n${mapping('first')}\n`)
  const hub = await startHub(t, { config: file })
  const device = await connectMqtt(t, hub.mqttUrl)
  let closed = false
  device.on('close', () => {
    closed = true
  })
  const publish = (value: number) =>
    device.publishAsync('home/kitchen/t1/telemetry', JSON.stringify({ value }), { qos: 1 })
  const stored = (measurement: string, values: readonly number[]) =>
    eventually(async () => {
      const found = await history(hub, `${measurement},device=t1,room=kitchen value`)
      return JSON.stringify(found) === JSON.stringify(values)
    }, `${values} in ${measurement}`)
  await publish(1)
  await stored('first', [1])

  writeFileSync(file, `log.level: debug\nlimits.address: 1\nspool.limit: 5GB\n${mapping('second')}\n`)
  process.kill(hub.pid, 'SIGHUP')
  await eventually(() => hub.log().includes('settings read again'), 'it says so')
  t.match(hub.log(), /changed: limits\.address, mapping, log\.level/)
  await eventually(() => /need a restart: spool\.limit/.test(hub.log()), 'and what needs a restart')
  await publish(2)
  await stored('second', [2])
  await stored('first', [1])
  const second = connect(Number(new URL(hub.mqttUrl).port), '127.0.0.1').on('error', () => {})
  await new Promise(resolve => second.on('close', resolve))
  t.equal(await metric(hub, 'telehub_refused_total{reason="too_many_of_address"}'), 1, 'one connection of an address')
  t.notOk(closed, 'the device stayed connected')

  writeFileSync(file, 'limits.adress: 1\n')
  process.kill(hub.pid, 'SIGHUP')
  await eventually(
    () => /the previous ones stay in use: .*did you mean limits\.address/.test(hub.log()),
    'it says what is wrong',
  )
  await publish(3)
  await stored('second', [2, 3])
  t.notOk(closed)
  t.equal(await hub.stop(), 0)
})

t.test('SIGHUP while the hub starts is not its end', async t => {
  const dir = t.testdir()
  const run = runCli(['start', '--mqtt.port', '0', '--http.port', '0', '--data.dir', dir])
  t.teardown(() => run.kill())
  while (!existsSync(join(dir, 'hub.json'))) await sleep(1)
  process.kill(run.pid, 'SIGHUP')
  await eventually(() => run.stderr().includes('settings read again'), 'read')
  t.match(run.stdout(), /telehub ready/)
  process.kill(run.pid, 'SIGTERM')
  t.equal(await run.exited, 0, run.stderr())
})

t.test('SIGTERM while the settings are read again ends the hub in order', async t => {
  const dir = t.testdir()
  const file = join(dir, 'telehub.yaml')
  writeFileSync(file, `${mapping('first')}\n`)
  const run = runCli([
    'start',
    '--config',
    file,
    '--mqtt.port',
    '0',
    '--http.port',
    '0',
    '--data.dir',
    join(dir, 'data'),
  ])
  t.teardown(() => run.kill())
  while (!existsSync(join(dir, 'data/hub.json'))) await sleep(1)
  writeFileSync(file, `${mapping('second')}\n`)
  process.kill(run.pid, 'SIGHUP')
  await run.line(/telehub ready/)
  process.kill(run.pid, 'SIGTERM')
  t.equal(await run.exited, 0, run.stderr())
})

t.test('stdout closed before the hub is ready: it ends, and not as if all were well', async t => {
  const run = runCli(['start', '--mqtt.port', '0', '--http.port', '0', '--data.dir', t.testdir()])
  t.teardown(() => run.kill())
  run.closeStdout()
  t.equal(await run.exited, 1)
  t.match(run.stderr(), /stdout is closed/)
  const list = runCli(['--help'])
  list.closeStdout()
  t.equal(await list.exited, 0, 'a reader that has read enough')
})
