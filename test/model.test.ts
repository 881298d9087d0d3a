import t from 'tap'
import { parseSeriesKey, seriesKey } from '../src/model.js'

t.test('series keys go there and back, whatever is in a name', async t => {
  const ids = [
    { measurement: 'telemetry', tags: [['device', 't1'] as const], field: 'temperature' },
    { measurement: 'm', tags: [], field: 'f' },
    { measurement: 'a b,c=d\\', tags: [['k =,', 'v\\ ,='] as const, ['z', 'line\nbreak'] as const], field: 'f g=h' },
    { measurement: '__proto__', tags: [['constructor', 'x'] as const], field: '#' },
  ]
  for (const id of ids) t.same(parseSeriesKey(seriesKey(id)), id, seriesKey(id))
  t.equal(seriesKey(ids[0] as (typeof ids)[0]), 'telemetry,device=t1 temperature')
})

t.test('what is no key is told apart', async t => {
  for (const text of ['', 'm', 'm ', ' f', 'm,a f', 'm a=b f', 'm,a=b=c f', 'm,=, f']) {
    t.equal(parseSeriesKey(text), undefined, JSON.stringify(text))
  }
})
