import t from 'tap'
import { readme } from './readme.js'

t.test('the generated parts of the README are what npm run readme makes', async t => {
  const { is, shouldBe } = readme()
  t.equal(is, shouldBe, 'run npm run readme')
})

t.test('the README keeps its order', async t => {
  const headings = [...readme().is.matchAll(/^## (.*)$/gm)].map(found => found[1])
  t.same(headings, [
    'Run it',
    'The way of a message',
    'What PUBACK means',
    'What it does not do, and limits',
    'Settings',
    'Benchmarks',
    'Extend it',
  ])
})
