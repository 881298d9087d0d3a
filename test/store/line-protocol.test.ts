import t from 'tap'
import type { Point } from '../../src/model.js'
import {
  decodeStored,
  encodeLine,
  parseLineProtocol,
  storedKey,
  storedMeasurement,
  storedText,
} from '../../src/store/line-protocol.js'
import { point } from '../contract/store.js'

function line(measurement: string, tags: Point['tags'], fields: Point['fields'], time = 1): string {
  return encodeLine(point(measurement, tags, fields, time))
}

const linesOf = (points: readonly Point[]) => points.map(point => encodeLine(point)).join('')

t.test('encode: numbers are floats, booleans words, text is quoted, time is microseconds', async t => {
  const fields: Point['fields'] = [
    ['a', 1],
    ['b', -0.5],
    ['c', 1e21],
    ['d', true],
    ['e', false],
    ['f', 'say "hi" \\ bye'],
  ]
  const tags: Point['tags'] = [
    ['k', 'v'],
    ['site', 'x'],
  ]
  t.equal(
    line('m', tags, fields, 1_700_000_000_000_001),
    'm,k=v,site=x a=1,b=-0.5,c=1e+21,d=true,e=false,f="say \\"hi\\" \\\\ bye" 1700000000000001\n',
  )
})

t.test('encode: what separates parts is escaped, empty tags are left out', async t => {
  t.equal(line('a b,c=d', [['k ,=', 'v ,=']], [['f ,=', 1]]), 'a\\ b\\,c=d,k\\ \\,\\==v\\ \\,\\= f\\ \\,\\==1 1\n')
  const tags: Point['tags'] = [
    ['a', ''],
    ['b', 'x'],
  ]
  t.equal(line('m', tags, [['f', 1]]), 'm,b=x f=1 1\n')
})

t.test('encode: tags that many points share, in several measurements', async t => {
  const tags: Point['tags'] = Object.freeze([['a b', 'c,d'] as const])
  const points = ['m', 'n,o', 'm'].map((measurement, i) => point(measurement, tags, [['f', i]], i))
  const lines = 'm,a\\ b=c\\,d f=0 0\nn\\,o,a\\ b=c\\,d f=1 1\nm,a\\ b=c\\,d f=2 2\n'
  t.equal(linesOf(points), lines)
  t.equal(linesOf(points), lines)
})

t.test('encode: no text can end its line or its part', async t => {
  t.equal(line('m\nevil,x=y v=9', [], [['f', 1]]), 'm\\x0aevil\\,x=y\\ v=9 f=1 1\n')
  t.equal(line('m', [['k\\', 'v\\']], [['f\\', 1]]), 'm,k\\x5c=v\\x5c f\\x5c=1 1\n')
  t.equal(line('#m', [['k', '\r\n\t\0\x7f']], [['f', 1]]), '\\x23m,k=\\x0d\\x0a\\x09\\x00\\x7f f=1 1\n')
  t.equal(line('m', [['time', 'time']], [['time', 1]]), 'm,\\x74ime=time \\x74ime=1 1\n')
  t.equal(line('m', [['path', 'C:\\temp\\x']], [['f', 1]]), 'm,path=C:\\temp\\x5cx f=1 1\n')
})

t.test('stored names come back as they were', async t => {
  const parts = ['\\', 'x', '4', '1', 'x41', 'n', ',', '=', ' ', '"', '\n', '\0', '#', 'time', '温', '']
  const texts = parts.flatMap(a => parts.flatMap(b => parts.map(c => a + b + c)))
  for (const stored of [storedMeasurement, storedKey, storedText]) {
    t.strictSame(
      texts.filter(text => decodeStored(stored(text)) !== text),
      [],
      stored.name,
    )
    t.equal(new Set(texts.map(stored)).size, new Set(texts).size, `${stored.name} keeps different texts different`)
  }
})

t.test('parse reads what encode writes', async t => {
  const names = ['a', 'b c', 'd,e', 'f=g', 'h"i', 'j\\k', 'l\\', 'm\nn', 'é', '#o', '__proto__', 'time']
  const points = names.map((name, i) =>
    point(
      name,
      [[name, name]],
      [
        [name, i / 3],
        ['温度 text', `${name}"\\`],
      ],
      1_700_000_000_000_000 + i,
    ),
  )
  const parsed = parseLineProtocol(linesOf(points), 0, 'u').map(({ measurement, tags, fields, time }) =>
    point(
      decodeStored(measurement),
      tags.map(([name, value]) => [decodeStored(name), decodeStored(value)] as const),
      fields.map(([name, value]) => [decodeStored(name), value] as const),
      time,
    ),
  )
  t.strictSame(parsed, points)
})

t.test('parse: values of every kind', async t => {
  const [parsed] = parseLineProtocol(
    'm b=2,a=1,i=-12i,u=7u,e=1.5e-3,p=+.5,t=t,T=TRUE,f=F,w=false,s="a, b=\\"c\\" \\\\ \\n",z="" 5',
    0,
    'u',
  )
  t.strictSame(
    new Map(parsed?.fields),
    new Map<string, unknown>([
      ['T', true],
      ['a', 1],
      ['b', 2],
      ['e', 0.0015],
      ['f', false],
      ['i', -12],
      ['p', 0.5],
      ['s', 'a, b="c" \\ \\n'],
      ['t', true],
      ['u', 7],
      ['w', false],
      ['z', ''],
    ]),
  )
  t.strictSame(parsed?.fields.map(([name]) => name).slice(0, 3), ['T', 'a', 'b'], 'fields are sorted by name')
})

t.test('parse: tags are sorted, escapes undone, other backslashes kept', async t => {
  t.strictSame(parseLineProtocol('my\\ m\\,x\\y,b\\ c=d\\=e,a=C:\\dir f\\ g=1 7', 0, 'u'), [
    point(
      'my m,x\\y',
      [
        ['a', 'C:\\dir'],
        ['b c', 'd=e'],
      ],
      [['f g', 1]],
      7,
    ),
  ])
})

t.test('parse: several lines, comments, empty lines, line ends of Windows, line ends in strings', async t => {
  const text = '# comment, "not closed\r\n\r\nm v=1 1\r\n\n  m v=2 2  \n#\nm v="a\nb" 3\nm v="c"'
  t.strictSame(
    parseLineProtocol(text, 100, 'u').map(({ fields, time }) => [fields[0]?.[1], time]),
    [
      [1, 1],
      [2, 2],
      ['a\nb', 3],
      ['c', 100],
    ],
  )
  t.strictSame(parseLineProtocol('', 0), [])
  t.strictSame(parseLineProtocol('\n# nothing\n', 0), [])
})

t.test('parse: times in every precision are whole microseconds, a missing one is now', async t => {
  const time = (text: string, precision?: 'n' | 'u' | 'ms' | 's') =>
    parseLineProtocol(`m v=1 ${text}`, 5, precision)[0]?.time
  t.equal(time('1700000000123456789'), 1_700_000_000_123_456)
  t.equal(time('-1'), -1)
  t.equal(time('1700000000123456', 'u'), 1_700_000_000_123_456)
  t.equal(time('1700000000123', 'ms'), 1_700_000_000_123_000)
  t.equal(time('1700000000', 's'), 1_700_000_000_000_000)
  t.strictSame(
    parseLineProtocol('m v=1\nm v=2\nm v=3', 5).map(point => point.time),
    [5, 5, 5],
  )
})

t.test('parse: what is wrong is told with the number of the line', async t => {
  for (const [text, message] of [
    ['m v=1\nm v=one', /^line 2: .*'v'.*one/],
    ['m v=1\n\n# c\nm', /^line 4: .*no fields/],
    ['m ', /no fields/],
    [',a=b v=1', /measurement/],
    ['m,a v=1', /tag 'a'/],
    ['m,a= v=1', /tag 'a' has no value/],
    ['m,=b v=1', /tag ''/],
    ['m,a=b=c v=1', /unescaped =/],
    ['m,a=1,a=2 v=1', /tag 'a' appears twice/],
    ['m v=1,v=2', /field 'v' appears twice/],
    ['m v=', /field 'v'/],
    ['m v=1,', /field ''/],
    ['m v', /field 'v'/],
    ['m =1', /field ''/],
    ['m v="open', /line 1: .*closing quote/],
    ['m v="a"b', /timestamp 'b'/],
    ['m v=NaN', /NaN/],
    ['m v=1e999', /1e999/],
    ['m v=1.5i', /1\.5i/],
    ['m v=-1u', /-1u/],
    ['m v=1 soon', /timestamp 'soon'/],
    ['m v=1 1 2', /after the timestamp/],
    ['m v=1 9999999999999999999', /out of range/],
  ] as const) {
    t.throws(() => parseLineProtocol(text, 0, text.includes('9999') ? 's' : 'n'), { message }, JSON.stringify(text))
  }
})
