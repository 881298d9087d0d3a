import t from 'tap'

/** What is tested of a module that is compiled for browsers. */
interface Module {
  numberText(value: number, decimals: number): string
  shownOf(value: number | boolean | string, spec: object): { readonly text: string; readonly tone: string }
}

const module = new URL('../../src/dashboard/home/format.js', import.meta.url).href
const { numberText, shownOf } = (await import(module)) as Module

t.test('numbers are written whole', async t => {
  t.equal(numberText(123_456_789.1, 1), '123,456,789.1')
  t.equal(numberText(-0.001, 1), '0.0')
  t.equal(numberText(-7.31, 1), '−7.3')
  t.equal(shownOf(16_777_241, {}).text, '16777241', 'a version is no quantity')
  t.equal(numberText(1e21, 0), '1.000e+21')
  t.equal(shownOf(123_456_789.1, { unit: 'kWh' }).text, '123,456,789.1')
})

t.test('yes and no get words from the class alone', async t => {
  t.same(shownOf(true, { class: 'door' }), { text: 'open', tone: 'active' })
  t.same(shownOf(false, { class: 'lock' }), { text: 'locked', tone: 'quiet' })
  t.same(shownOf(true, { class: 'smoke' }), { text: 'detected', tone: 'alert' })
  t.same(shownOf(true, {}), { text: 'on', tone: 'on' })
  t.same(shownOf('ON', { class: 'light' }), { text: 'on', tone: 'on' })
  t.same(shownOf('ON', {}), { text: 'ON', tone: 'quiet' })
})

t.test('words of a description come first, limits colour a number', async t => {
  const texts = [
    { value: 0, key: 'closed', name: 'zu' },
    { value: 1, name: 'offen' },
  ]
  t.equal(shownOf(0, { texts }).text, 'closed')
  t.equal(shownOf(1, { texts }).text, 'offen')
  const contact = [
    { value: true, key: 'closed', name: 'Closed' },
    { value: false, key: 'open', name: 'Open' },
  ]
  t.same(shownOf(true, { class: 'door', texts: contact }), { text: 'closed', tone: 'quiet' })
  t.same(shownOf(false, { class: 'door', texts: contact }), { text: 'open', tone: 'active' })
  const thresholds = { high: 10, veryHigh: 20 }
  t.same(
    [5, 15, 25].map(value => shownOf(value, { thresholds }).tone),
    ['quiet', 'active', 'alert'],
  )
})

t.test('characters that hide or turn text are shown', async t => {
  t.equal(shownOf('a\u202egnp.exe', {}).text, 'a‹202E›gnp.exe')
})
