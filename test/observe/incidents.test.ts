import t from 'tap'
import { Incidents } from '../../src/observe/incidents.js'

t.test('reports are summed up by kind, logged, and given to the balance sheet once it is there', async t => {
  const logged: string[] = []
  const lost: number[] = []
  let now = 1_000
  const incidents = new Incidents({
    clock: { now: () => now },
    log: { warn: sentence => logged.push(sentence) },
  })
  incidents.enterInto({ enterLost: messages => void lost.push(messages) })
  t.same(incidents.list(), [])
  incidents.report('spool_lost', 'messages 1 to 3 are lost', { messages: 3 })
  incidents.report('clock_jump', 'the clock jumped by 3600 s')
  t.same(lost, [], 'the balance sheet is not there yet')
  incidents.start()
  t.same(lost, [3])
  now = 2_000
  incidents.report('spool_lost', 'messages 7 to 8 are lost', { messages: 2, bytes: 90 })
  t.same(lost, [3, 2])
  t.same(incidents.list(), [
    {
      kind: 'spool_lost',
      count: 2,
      first: 1_000,
      last: 2_000,
      detail: 'messages 7 to 8 are lost',
      lost: { messages: 5, bytes: 90 },
    },
    {
      kind: 'clock_jump',
      count: 1,
      first: 1_000,
      last: 1_000,
      detail: 'the clock jumped by 3600 s',
      lost: { messages: 0, bytes: 0 },
    },
  ])
  t.same(logged, ['messages 1 to 3 are lost', 'the clock jumped by 3600 s', 'messages 7 to 8 are lost'])
})

t.test('a flood of reports grows neither the list nor the log', async t => {
  const logged: string[] = []
  const incidents = new Incidents({
    clock: { now: () => 0 },
    log: { warn: sentence => logged.push(sentence) },
  })
  for (let n = 0; n < 10_000; n++) incidents.report(`kind_${n}`, `number ${n}`)
  t.equal(incidents.list().length, 100)
  t.equal(incidents.list()[0]?.kind, 'kind_9999', 'the latest is kept')
  t.ok(logged.length < 1_000, `${logged.length} lines`)
})
