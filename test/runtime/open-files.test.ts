import t from 'tap'
import { connectionsWithin, openFileLimit } from '../../src/runtime/open-files.js'

t.test('HTTP has a quarter of the open files at most, and MQTT what is left', async t => {
  t.same(connectionsWithin(Number.POSITIVE_INFINITY, 10_000, 1_000), { mqtt: 10_000, http: 1_000 })
  t.same(connectionsWithin(1_048_576, 10_000, 1_000), { mqtt: 10_000, http: 1_000 })
  const { mqtt, http } = connectionsWithin(1_024, 10_000, 1_000)
  t.equal(http, 218)
  t.equal(mqtt, 656)
  t.ok(mqtt + http < 1_024)
  const least = connectionsWithin(64, 10_000, 1_000)
  t.ok(least.mqtt > 0 && least.http > 0, 'few files are no reason not to start')
})

t.test('the system says how many there may be', async t => {
  t.ok(openFileLimit() > 100)
})
