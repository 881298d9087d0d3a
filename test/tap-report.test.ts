import t from 'tap'
import { TapReport } from './tap-report.js'

const output = `TAP version 14
1..3
# Subtest: dist/test/a.test.js
    # Subtest: nested
        ok 1 - fine
        # Subtest: deeper
            ok 1 - same
            not ok 2 - differs
              ---
              diff: |
                ok 1 - not a point but a detail
              ...
            1..2
        not ok 2 - deeper # time=16.555ms
          ---
          at: somewhere
          ...
        1..2
    not ok 1 - nested # time=22.848ms
    ok 2 - not now # SKIP
    ok 3 - all at once # time=3ms {
        ok 1 - inside
        1..1
    }
    1..3
not ok 1 - dist/test/a.test.js # time=1029.012ms
# Subtest: dist/test/b.test.js
    1..0 # no tests found
ok 2 - dist/test/b.test.js # SKIP no tests found
`

const read = (text: string, files: readonly string[]) => {
  const written: string[] = []
  const report = new TapReport(files, line => written.push(line), false)
  for (const line of text.split('\n')) report.line(line)
  report.summarize()
  return { report, written: written.join('\n') }
}

t.test('assertions are counted, subtests and details are not', async t => {
  const { report, written } = read(output, ['dist/test/a.test.js', 'dist/test/b.test.js'])
  t.equal(report.passed, 3)
  t.equal(report.failed, 2, 'the assertion that differs, and the file that asserts nothing')
  t.match(written, '✖ test/a.test.ts  3 passed, 1 failed, 1.0 s')
  t.match(written, '✖ test/a.test.ts › nested › deeper › differs\n    diff: |')
  t.match(written, '✖ test/b.test.ts › there is no test in it')
  t.match(written, '1 skipped')
})

t.test('the files that took longest are listed, the slowest first', async t => {
  const files = ['dist/test/a.test.js', 'dist/test/b.test.js', 'dist/test/c.test.js']
  const times = [6_000, 1_000, 12_345]
  const text = files.map(
    (file, i) => `# Subtest: ${file}\n    ok 1 - fine\n    1..1\nok 1 - ${file} # time=${times[i]}ms\n`,
  )
  const { written } = read(text.join(''), files)
  t.match(written, 'Slowest:\n   12.3 s  test/c.test.ts\n    6.0 s  test/a.test.ts\n')
  t.notMatch(written.split('Slowest:')[1], 'b.test.ts')
})

t.test('a file that never reports is a failure', async t => {
  const { report, written } = read(output, ['dist/test/a.test.js', 'dist/test/b.test.js', 'dist/test/c.test.js'])
  t.equal(report.failed, 3)
  t.match(written, 'test/c.test.ts did not run')
})

t.test('a subtest that ends early is a failure though all its assertions passed', async t => {
  const early = '# Subtest: dist/test/a.test.js\n    ok 1 - fine\n    1..1\nnot ok 1 - dist/test/a.test.js # time=1ms\n'
  const { report } = read(early, ['dist/test/a.test.js'])
  t.equal(report.passed, 1)
  t.equal(report.failed, 1)
})

const failing = `# Subtest: dist/test/a.test.js
    ok 1 - fine
    not ok 2 - late
      ---
      found: 3
      ...
    1..2
not ok 1 - dist/test/a.test.js # time=5ms
`
const passing = `# Subtest: dist/test/a.test.js
    ok 1 - fine
    ok 2 - late
    1..2
ok 1 - dist/test/a.test.js # time=5ms
`
const twice = (second: string) => {
  const written: string[] = []
  const report = new TapReport(['dist/test/a.test.js'], line => written.push(line), false)
  for (const line of failing.split('\n')) report.line(line)
  t.same(report.failedFiles, ['dist/test/a.test.js'])
  report.again('dist/test/a.test.js')
  t.same(report.failedFiles, [])
  for (const line of second.split('\n')) report.line(line)
  report.summarize()
  return { report, written: written.join('\n') }
}

t.test(
  'a file that fails and then passes alone counts as passed, and is listed as unsteady with its failure',
  async t => {
    const { report, written } = twice(passing)
    t.equal(report.passed, 2)
    t.equal(report.failed, 0)
    t.same(report.unsteadyFiles, ['dist/test/a.test.js'])
    t.match(written, '~ test/a.test.ts › late\n    found: 3')
    t.match(written, /Unsteady: .*\n~ test\/a\.test\.ts\n/)
  },
)

t.test('a file that fails twice is a failure, counted once', async t => {
  const { report, written } = twice(failing)
  t.equal(report.passed, 1)
  t.equal(report.failed, 1)
  t.same(report.unsteadyFiles, [])
  t.notMatch(written, 'Unsteady')
  t.equal(written.split('✖ test/a.test.ts › late').length, 2)
})

t.test('a file that does not report the second time is a failure', async t => {
  const { report } = twice('')
  t.equal(report.passed, 0)
  t.equal(report.failed, 1)
})

t.test('what a file leaves behind is a failure of this file', async t => {
  const report = new TapReport(['dist/test/a.test.js'], () => {}, false)
  const [first = '', ...others] = passing.split('\n')
  report.line(first)
  report.failIn('a test left its folder')
  for (const line of others) report.line(line)
  t.equal(report.passed, 2)
  t.equal(report.failed, 1)
  t.same(report.failedFiles, ['dist/test/a.test.js'])
})
