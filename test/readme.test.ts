import { existsSync, readdirSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { settingKeys } from '../src/config/config.js'
import { beginningOf, docs, generated, headingsOf, pages, readPage, withoutCode } from './readme.js'

const root = fileURLToPath(new URL('../..', import.meta.url))

/** Pages whose links are followed. */
const linked = [
  ...pages,
  'CONTRIBUTING.md',
  'SECURITY.md',
  'CHANGELOG.md',
  'devices/README.md',
  'client/README.md',
  'examples/plain-page/README.md',
  'examples/order-status/README.md',
  'examples/back-ends/README.md',
  'examples/kafka-consumer/README.md',
  'examples/webhook-receiver/README.md',
]

t.test('the generated parts of README.md and docs/ are what npm run readme makes', async t => {
  for (const page of pages) {
    const { is, shouldBe } = generated(page)
    t.equal(is, shouldBe, `${page}: run npm run readme`)
  }
})

t.test('the README keeps its order, and its length', async t => {
  const headings = headingsOf(readPage('README.md'))
  t.same(
    headings.filter(({ level }) => level === 2).map(({ text }) => text),
    [
      'Run it and test it',
      'Connect your devices',
      'The flow of a message',
      'What PUBACK means',
      'Benchmarks',
      'Documentation',
      'Links',
    ],
  )
  t.ok(readPage('README.md').split('\n').length <= 200, 'it is read in one go; the rest is in docs/')
})

t.test('every page of docs/ is listed, asks its question, and has contents if it is longer than a screen', async t => {
  const files = readdirSync(join(root, 'docs')).filter(name => name.endsWith('.md'))
  t.same(files.map(name => `docs/${name}`).sort(), [...docs].sort())
  for (const page of docs) {
    const { title, question } = beginningOf(page)
    t.match(readPage('README.md'), `| [${title}](${page}) | ${question} |`)
    const text = readPage(page)
    const contents = text.indexOf('<!-- contents: ')
    if (text.split('\n').length > 50) t.ok(contents > 0, `${page}: contents, as it is longer than a screen`)
    if (contents > 0) t.ok(contents < text.indexOf('\n## '), `${page}: contents before the first chapter`)
  }
})

t.test('every link leads to a file and a heading that are there', async t => {
  for (const page of linked) {
    const links = [...withoutCode(readPage(page)).matchAll(/\]\(([^)\s]+)\)/g)].map(([, target = '']) => target)
    for (const target of links.filter(target => !/^(https?|mailto):/.test(target))) {
      const [path = '', anchor] = target.split('#')
      const file = path === '' ? page : normalize(join(dirname(page), path))
      if (!t.ok(existsSync(join(root, file)), `${page}: ${target}`) || anchor === undefined) continue
      t.ok(
        headingsOf(readPage(file)).some(heading => heading.anchor === anchor),
        `${page}: ${target}`,
      )
    }
  }
})

t.test('every file and every setting that a page names is there', async t => {
  const subjects = new Set(settingKeys.filter(key => key.includes('.')).map(key => key.split('.')[0]))
  for (const page of [...pages, 'CONTRIBUTING.md', 'SECURITY.md']) {
    const code = [...withoutCode(readPage(page)).matchAll(/`([^`\n]+)`/g)].map(([, text = '']) => text)
    for (const text of code) {
      if (/^(src|test|devices|docs)\/[\w./-]+$/.test(text)) t.ok(existsSync(join(root, text)), `${page}: ${text}`)
      const [, key, subject] = /^((\w+)\.[a-z]\w*)(: .*)?$/i.exec(text) ?? []
      if (key && subjects.has(subject) && key !== 'store.duckdb')
        t.ok((settingKeys as readonly string[]).includes(key), `${page}: ${key}`)
    }
  }
})

t.test('the package has the pages and the picture of the README', async t => {
  const { files } = JSON.parse(readPage('package.json'))
  for (const name of ['README.md', 'docs', 'SECURITY.md', 'CHANGELOG.md']) t.ok(files.includes(name), name)
  t.match(readPage('README.md'), '](docs/dashboard.png)')
})

t.test('an anchor is what GitHub makes of a heading', async t => {
  const text = '# A `telehub` b: $SYS, c-d_e\n\n## Twice\n\n```sh\n# none\n```\n\n## Twice\n'
  t.same(
    headingsOf(text).map(({ anchor }) => anchor),
    ['a-telehub-b-sys-c-d_e', 'twice', 'twice-1'],
  )
})
