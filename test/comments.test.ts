import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'

/*
 * Two measures of comments that a stranger understands at first reading, and one of names. Comments that name their
 * subject keep them without trying; a comment that begins with a pronoun leaves the subject to be guessed.
 */

const root = fileURLToPath(new URL('../..', import.meta.url))
const files = ['src', 'devices'].flatMap(folder =>
  (readdirSync(join(root, folder), { recursive: true }) as string[])
    .filter(name => /\.tsx?$/.test(name))
    .map(name => join(folder, name)),
)

interface Comment {
  readonly at: string
  readonly isDoc: boolean
  readonly lines: readonly string[]
}

/** Block comments and runs of line comments that stand on lines of their own. */
function commentsOf(file: string): Comment[] {
  const found: { at: string; isDoc: boolean; lines: string[] }[] = []
  let open: (typeof found)[number] | undefined
  for (const [i, line] of readFileSync(join(root, file), 'utf8').split('\n').entries()) {
    const text = line.trim()
    const at = `${file}:${i + 1}`
    if (!open && text.startsWith('//')) found.push({ at, isDoc: false, lines: [text.slice(2).trim()] })
    else if (!open && text.startsWith('/*')) {
      open = { at, isDoc: text.startsWith('/**'), lines: [] }
      found.push(open)
    }
    if (!open) continue
    const words = text.replace(/^\/?\*+\/?\s?/, '').replace(/\s*\*\/$/, '')
    if (words) open.lines.push(words)
    if (text.endsWith('*/')) open = undefined
  }
  return found
}

const comments = files.flatMap(commentsOf)
const percent = (part: number, whole: number) => Math.round((1_000 * part) / whole) / 10

t.test('comments name their subject', async t => {
  const lines = comments.flatMap(({ lines }) => lines)
  const vague = lines.filter(line => /\b(it|its|itself)\b/i.test(line)).length
  t.ok(lines.length > 3_000, `${lines.length} lines`)
  t.ok(percent(vague, lines.length) <= 10, `it or its in ${percent(vague, lines.length)} % of them`)
})

t.test('doc comments begin with a thing or an action', async t => {
  const dangling = /^(Of|Who|Whose|Whom|Whoever|What|Those|Likewise|It|Its|As|So)\b/
  const docs = comments.filter(({ isDoc, lines }) => isDoc && lines.length > 0)
  const found = docs.filter(({ lines }) => dangling.test(lines[0] ?? ''))
  t.ok(docs.length > 2_000, `${docs.length} doc comments`)
  t.ok(percent(found.length, docs.length) <= 1, found.map(({ at, lines }) => `${at}: ${lines[0]}`).join('\n'))
})

t.test('no type of the hub is declared twice, none hides one of the language', async t => {
  const declared = new Map<string, string[]>()
  for (const file of files.filter(name => name.startsWith('src/') && !name.startsWith('src/dashboard/'))) {
    const source = readFileSync(join(root, file), 'utf8')
    for (const [, name = ''] of source.matchAll(/^(?:export )?(?:abstract )?(?:class|interface|type) ([A-Z]\w*)/gm))
      declared.set(name, [...(declared.get(name) ?? []), file])
  }
  t.ok(declared.size > 300)
  t.same(
    [...declared].filter(([, files]) => new Set(files).size > 1),
    [],
  )
  const ofTheLanguage = ['Record', 'Map', 'Set', 'Promise', 'Partial', 'Pick', 'Omit', 'Readonly', 'Error', 'Symbol']
  for (const name of ofTheLanguage) t.notOk(declared.has(name), name)
})
