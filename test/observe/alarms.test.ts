import t from 'tap'
import { Alarms } from '../../src/observe/alarms.js'
import { eventually } from '../harness.js'

t.test('an alarm is said once, shown while there is reason, and said to be over', async t => {
  const said: string[] = []
  let fill = 50
  let failing = 0
  const alarms = new Alarms({
    checks: [
      { name: 'spool', check: () => (fill >= 80 ? `${fill} % full` : undefined) },
      {
        name: 'disk',
        check: () => {
          failing++
          throw new Error('the disk does not say')
        },
      },
    ],
    everyMs: 10,
    log: { info: sentence => said.push(sentence), warn: sentence => said.push(sentence) },
  })
  alarms.start()
  t.teardown(() => alarms.stop())
  await eventually(() => failing > 0, 'looked')
  t.same(alarms.list(), [])
  fill = 83
  await eventually(() => alarms.list().length === 1, 'raised')
  fill = 90
  await eventually(() => alarms.list()[0]?.detail === '90 % full', 'the detail is what it is now')
  fill = 10
  await eventually(() => alarms.list().length === 0, 'over')
  t.same(said, ['alarm: 83 % full', 'alarm over: spool'])
})
