import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import type { Commands } from '../../src/commands/commands.js'
import { request, TestDevice, testCommands } from '../fixtures/commands.js'
import { mortalFiles } from '../fixtures/mortal-files.js'
import { eventually } from '../harness.js'
import { tempDir } from '../services/service.js'

/** What is certain, as somebody was told so: of each command, by its payload, how far it had come. */
interface Known {
  readonly asked: Map<string, string>
  readonly over: Map<string, string>
}

const replies = {
  expectReply: async ({ payload }: { readonly payload: Uint8Array }) =>
    Buffer.from(payload).toString() === 'answered' ? 'test' : undefined,
  forgetReplies: async () => {},
}

/** A life with each way of a command. */
async function live(commands: Commands, device: TestDevice, { asked, over }: Known): Promise<void> {
  const ask = async (payload: string) => {
    const { id } = await commands.send(request(payload))
    asked.set(payload, id)
    return id
  }
  await commands.start()
  await ask('waiting')
  const cancelled = await ask('cancelled')
  await commands.cancel(cancelled, 'a test')
  over.set('cancelled', 'cancelled')
  device.come(commands)
  await eventually(() => commands.find(asked.get('waiting') ?? '')?.state === 'delivered', 'it is delivered')
  device.acknowledges = false
  await ask('twice')
  await eventually(() => device.got.some(({ payload }) => payload === 'twice'), 'it is sent')
  device.leave()
  device.acknowledges = true
  device.come(commands)
  await eventually(() => commands.find(asked.get('twice') ?? '')?.state === 'delivered', 'it is delivered')
  const id = await ask('answered')
  await eventually(() => device.got.some(({ payload }) => payload === 'answered'), 'it is sent')
  const waits = commands.send(request('later', { waitMs: 60_000 })).then(({ id, state }) => {
    asked.set('later', id)
    over.set('later', state)
  })
  commands.replied({ id, isGood: true, topic: 'a', payload: Buffer.from('yes') })
  await waits
  await eventually(() => commands.find(id)?.state === 'answered', 'it is answered')
}

t.test('killed at each change of the disk, the hub knows what the device may have', async t => {
  let rounds = 0
  for (let last = 0; ; last++) {
    const dir = await tempDir()
    const disk = mortalFiles(last)
    const device = new TestDevice()
    const known: Known = { asked: new Map(), over: new Map() }
    const first = testCommands(dir, device, { files: disk.files, replies })
    const life = live(first, device, known).then(
      () => 'over',
      () => 'failed',
    )
    const end = await Promise.race([life, disk.dead.then(() => 'killed')])
    const sentBefore = new Set(device.got.map(({ payload }) => payload))
    const acknowledged = device.got.length
    rounds++

    const again = new TestDevice()
    const second = testCommands(dir, again, { replies })
    await second.start()
    for (const [payload, id] of known.asked) {
      const found = second.find(id)
      t.equal(found?.payload.toString(), payload, `${last}: ${payload} is not lost`)
      if (sentBefore.has(payload)) t.not(found?.state, 'queued', `${last}: ${payload} may have arrived`)
      const state = known.over.get(payload)
      if (state !== undefined) t.equal(found?.state, state, `${last}: ${payload} is over`)
    }
    again.come(second)
    await eventually(
      () => second.list(({ state }) => state === 'queued' || state === 'sent', 1).length === 0,
      'all arrive',
    )
    await turn()
    for (const { payload, dup } of again.got) {
      if (sentBefore.has(payload)) t.ok(dup, `${last}: ${payload} is marked as sent before`)
      if (known.over.has(payload)) t.fail(`${last}: ${payload} is over, and sent`)
    }
    for (const payload of known.asked.keys()) {
      const times = again.got.filter(one => one.payload === payload).length
      t.ok(times <= 1, `${last}: ${payload} is sent once`)
      const isCancelled = second.find(known.asked.get(payload) ?? '')?.state === 'cancelled'
      if (!known.over.has(payload) && !isCancelled)
        t.ok(times + Number(sentBefore.has(payload)) > 0, `${last}: ${payload} arrives`)
    }
    await second.stop()
    if (end !== 'killed') {
      t.equal(end, 'over', 'undisturbed')
      t.ok(acknowledged >= 5)
      await Promise.race([first.stop(), disk.dead])
      break
    }
  }
  t.ok(rounds > 15, `${rounds} rounds`)
})
