import t from 'tap'
import { HubError } from '../../src/errors.js'
import { Ingest, type Log } from '../../src/ingest/ingest.js'
import type { Publish } from '../../src/model.js'

const publish = (qos: 0 | 1 | 2): Publish => ({
  topic: 't',
  payload: Buffer.from('x'),
  qos,
  retain: false,
  clientId: 'c',
  user: '',
  packetId: 0,
})

/** A log whose commits happen when the test says so. */
function fixture() {
  const waiting: ((error: Error | undefined, sequence: number) => void)[] = []
  const log = {
    pendingBytes: 0,
    full: false,
    append: (_: unknown, done?: (typeof waiting)[0]) => void waiting.push(done ?? (() => {})),
  }
  const events: string[] = []
  const ingest = new Ingest({
    log: log as Log,
    budgetBytes: 100,
    relieved: () => events.push('relieved'),
    accepted: qos => events.push(`accepted ${qos}`),
    refused: (qos, reason) => events.push(`refused ${qos} ${reason}`),
  })
  return { log, waiting, events, ingest }
}

t.test('QoS 1 and 2 are answered after the commit, QoS 0 at once', async t => {
  const { waiting, events, ingest } = fixture()
  const answers: string[] = []
  for (const qos of [1, 0, 2] as const)
    ingest.accept(publish(qos), (error, sequence) => answers.push(`${qos} ${error ? 'no' : sequence}`))
  t.same(answers, ['0 0'])
  for (const [i, done] of waiting.entries()) done(undefined, i + 10)
  t.same(answers, ['0 0', '1 10', '2 12'])
  t.same(events, ['accepted 1', 'accepted 0', 'accepted 2'])
})

t.test('what is not kept is refused by reason, and QoS 1 is told', async t => {
  const { log, waiting, events, ingest } = fixture()
  const errors: unknown[] = []
  ingest.accept(publish(1), error => errors.push(error))
  ingest.accept(publish(0), error => errors.push(error))
  for (const done of waiting) done(new HubError('spool_failed', 'disk'), 0)
  log.full = true
  ingest.accept(publish(0), error => errors.push(error))
  t.match(errors, [undefined, { code: 'spool_failed' }, undefined])
  t.same(events, ['refused 1 spool_failed', 'refused 0 spool_failed', 'refused 0 spool_full'])
})

t.test('past the budget it is overloaded until half of it is free, and says so once', async t => {
  const { log, events, ingest } = fixture()
  log.pendingBytes = 101
  ingest.accept(publish(1), () => {})
  t.ok(ingest.overloaded)
  log.pendingBytes = 60
  ingest.settled()
  t.ok(ingest.overloaded)
  log.pendingBytes = 50
  ingest.settled()
  ingest.settled()
  t.notOk(ingest.overloaded)
  t.same(events, ['relieved'])
})
