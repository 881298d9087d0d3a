import mqtt, { type MqttClient } from 'mqtt'
import t from 'tap'
import { connectMqtt, runCli, startHub } from '../harness.js'

const isClosed = (client: MqttClient) => new Promise<void>(resolve => client.once('close', resolve))

t.test('telehub clients: list, kick, ban, and the end of a ban', async t => {
  const hub = await startHub(t)
  const telehub = async (...args: string[]) => {
    const run = runCli([...args, '--url', hub.httpUrl, '--data.dir', hub.dir])
    return { code: await run.exited, out: run.stdout(), error: run.stderr() }
  }
  const thermo = await connectMqtt(t, hub.mqttUrl, { clientId: 'thermo-1', protocolVersion: 5 })
  await connectMqtt(t, hub.mqttUrl, { clientId: 'lamp' })
  await thermo.subscribeAsync(['a', 'b'])
  const listed = await telehub('clients', 'list', '--search', 'thermo')
  t.match(listed.out, /^thermo-1 +connected \d+ s +127\.0\.0\.1\S* +5\S* +2 +0 +\d+ B\/s +\d+ B\/s$/m, listed.error)
  t.match(listed.out, /^1 client; 2 of all are connected$/m)
  t.match(
    (await telehub('clients', '--sort', 'in', '--limit', '1')).out,
    /^2 clients, 1 shown; --limit shows more; 2 of/m,
  )
  t.match(JSON.parse((await telehub('clients', '--json')).out), { count: 2, connected: 2 })

  const closed = isClosed(thermo)
  t.match(await telehub('clients', 'kick', 'thermo-1'), { code: 0, out: 'thermo-1 is disconnected\n' })
  await closed
  t.match(await telehub('clients', 'kick', 'nobody'), { code: 1, error: /no client nobody is connected/ })

  const back = await connectMqtt(t, hub.mqttUrl, { clientId: 'thermo-1' })
  const closedAgain = isClosed(back)
  t.match(await telehub('clients', 'ban', 'thermo-1', '--for', '2h'), {
    code: 0,
    out: /^client thermo-1 is banned until 20\S+ \S+Z; 1 client disconnected\n$/,
  })
  await closedAgain
  const connect = () => mqtt.connectAsync(hub.mqttUrl, { clientId: 'thermo-1', reconnectPeriod: 0 }, false)
  await t.rejects(connect())
  t.match((await telehub('ban', 'list')).out, /^client +thermo-1 +20.*by /m)
  t.match(await telehub('ban', 'lift', 'thermo-1', '--kind', 'client'), { code: 0, out: /thermo-1 is lifted/ })
  await (await connect()).endAsync()

  for (const [args, error] of [
    [['clients', 'ban', 'x'], /--for: is missing, allowed is/],
    [['clients', 'ban', 'x', '--for', 'soon'], /--for: given "soon", allowed is/],
    [['clients', 'ban', 'x', '--for', '1h', '--kind', 'cat'], /--kind: given "cat", allowed is client, user, address/],
    [['clients', 'list', '--sort', 'age'], /--sort: given "age", allowed is name, in, out, queue, since/],
  ] as const) {
    t.match(await telehub(...args), { code: 2, error }, args.join(' '))
  }
})
