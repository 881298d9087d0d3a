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
