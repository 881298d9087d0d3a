import { parseExpression } from './expressions.js'
import { Lexer } from './lexer.js'
import { durationOf, momentOf } from './moments.js'
import {
  type Condition,
  type Fill,
  type QueryStatement,
  type RowLimits,
  type SelectStatement,
  type ShowStatement,
  type Source,
  SyntaxFault,
  shown,
  type TextTest,
} from './statement.js'

/** Values for the `$names` of a query. */
export type BoundValues = Readonly<Record<string, unknown>>

/** Maximum number of statements in a request. */
const mostStatements = 100

/** Maximum depth of parentheses. */
const deepest = 50

/** Maximum number of conditions, fields and other things that are listed in one statement. */
const mostListed = 1_000

/** Maximum length of a text. Statements are longer only by mistake, or to do harm. */
const longest = 65_536

/** Returns the statements of a text. `now`: nanoseconds since the epoch. Throws `SyntaxFault`. */
export function parseStatements(text: string, now: bigint, bound: BoundValues = {}): QueryStatement[] {
  if (text.length > longest) throw new SyntaxFault(`error parsing query: it is longer than ${longest} characters`)
  return new Parser(text, now, bound).statements()
}

class Parser {
  readonly #lexer: Lexer
  readonly #now: bigint
  readonly #bound: BoundValues
  #depth = 0
  #listed = 0

  constructor(text: string, now: bigint, bound: BoundValues) {
    this.#lexer = new Lexer(text)
    this.#now = now
    this.#bound = bound
  }

  statements(): QueryStatement[] {
    const found: QueryStatement[] = []
    for (;;) {
      while (this.#lexer.take(';'));
      if (this.#lexer.peek().kind === 'end') return found
      if (found.length === mostStatements) this.#lexer.fail(`at most ${mostStatements} statements`)
      found.push(this.#statement())
      if (this.#lexer.peek().kind !== 'end' && !this.#lexer.sees(';')) this.#lexer.fail('; or EOF')
    }
  }

  #statement(): QueryStatement {
    this.#listed = 0
    if (this.#lexer.take('SELECT')) return this.#select()
    if (this.#lexer.take('SHOW')) return this.#show()
    return this.#lexer.fail('SELECT or SHOW; the hub answers no other statements')
  }

  #select(): SelectStatement {
    const fields = this.#list(() => ({
      expression: parseExpression(this.#lexer, deepest),
      alias: this.#lexer.take('AS') ? this.#name() : undefined,
    }))
    if (this.#lexer.sees('INTO')) this.#lexer.fail('FROM; INTO is not supported')
    this.#lexer.expect('FROM')
    const { database, sources } = this.#sources()
    const condition = this.#where()
    const groups = this.#groups()
    const fill = this.#fill()
    const descending = this.#order()
    const limits = this.#limits()
    if (this.#lexer.take('TZ')) this.#zone()
    return { kind: 'select', fields, database, sources, condition, ...groups, fill, descending, ...limits }
  }

  #show(): ShowStatement {
    const what = this.#shown()
    let database = this.#lexer.take('ON') ? this.#name() : undefined
    let measurement: TextTest | undefined
    let sources: readonly Source[] = []
    if (what === 'MEASUREMENTS' && this.#lexer.take('WITH')) {
      this.#lexer.expect('MEASUREMENT')
      measurement = this.#textTest(() => this.#name())
    } else if (!['DATABASES', 'RETENTION POLICIES', 'MEASUREMENTS'].includes(what) && this.#lexer.take('FROM')) {
      const from = this.#sources()
      sources = from.sources
      database = from.database ?? database
    }
    const keys = what === 'TAG VALUES' ? this.#keys() : []
    const condition = this.#where()
    if (this.#lexer.sees('ORDER')) this.#order()
    return { kind: 'show', what, database, sources, keys, measurement, condition, ...this.#limits() }
  }

  /** Takes what is to be shown: one word, or two. */
  #shown(): ShowStatement['what'] {
    const { text } = this.#lexer.next()
    const first = text.toUpperCase()
    const what = shown.find(words => {
      const [one, two = ''] = words.split(' ')
      return one === first && (two === '' || this.#lexer.take(two))
    })
    return what ?? this.#lexer.fail(shown.map(words => `SHOW ${words}`).join(', '))
  }

  #keys(): readonly TextTest[] {
    this.#lexer.expect('WITH')
    this.#lexer.expect('KEY')
    if (!this.#lexer.take('IN')) return [this.#textTest(() => this.#name())]
    this.#lexer.expect('(')
    const names = this.#list(() => this.#name())
    this.#lexer.expect(')')
    return names.map(value => ({ operator: '=', value }))
  }

  #textTest(value: () => string): TextTest {
    const { kind, text } = this.#lexer.peek()
    if (kind === 'symbol' && (text === '=~' || text === '!~')) {
      this.#lexer.next()
      return { operator: text, value: this.#lexer.pattern() ?? this.#lexer.fail('a regular expression') }
    }
    if (kind === 'symbol' && (text === '=' || text === '!=')) {
      this.#lexer.next()
      return { operator: text, value: value() }
    }
    return this.#lexer.fail('=, !=, =~ or !~')
  }

  #sources(): { readonly database: string | undefined; readonly sources: readonly Source[] } {
    let database: string | undefined
    const sources = this.#list(() => {
      if (this.#lexer.sees('(')) this.#lexer.fail('a measurement; subqueries are not supported')
      const parts: string[] = []
      for (;;) {
        const pattern = this.#lexer.pattern()
        if (pattern !== undefined) {
          if (parts.length === 2) database = parts[0]
          return { pattern }
        }
        // db..measurement: the retention policy is the default one.
        parts.push(this.#lexer.sees('.') && parts.length === 1 ? '' : this.#name())
        if (parts.length === 3 || !this.#lexer.take('.')) break
      }
      if (parts.length === 3) database = parts[0]
      return { name: parts.at(-1) ?? '' }
    })
    return { database, sources }
  }

  #where(): Condition | undefined {
    return this.#lexer.take('WHERE') ? this.#either() : undefined
  }

  #either(): Condition {
    let left = this.#both()
    while (this.#lexer.take('OR')) left = { kind: 'or', left, right: this.#both() }
    return left
  }

  #both(): Condition {
    let left = this.#test()
    while (this.#lexer.take('AND')) left = { kind: 'and', left, right: this.#test() }
    return left
  }

  #test(): Condition {
    this.#count()
    if (this.#lexer.take('(')) {
      if (++this.#depth > deepest) this.#lexer.fail(`at most ${deepest} parentheses in each other`)
      const inner = this.#either()
      this.#lexer.expect(')')
      this.#depth--
      return inner
    }
    const isWord = this.#lexer.peek().kind === 'word'
    const name = this.#name()
    if (isWord && name.toLowerCase() === 'time') return this.#timeTest()
    const of = this.#lexer.take('::') ? this.#kind() : undefined
    const { text } = this.#lexer.peek()
    if (['<', '>', '<=', '>='].includes(text)) {
      this.#lexer.fail(`=, !=, =~ or !~ behind ${name}; conditions on values of fields are not supported`)
    }
    const test = this.#textTest(() => {
      const { kind, text } = this.#lexer.next()
      if (kind === 'text') return text
      if (kind === 'bound' && typeof this.#bound[text] === 'string') return this.#bound[text]
      return this.#lexer.fail(
        `a text in ' ' behind ${name}; conditions on other values than those of tags are not supported`,
      )
    })
    return { kind: 'tag', tag: { name, of }, ...test }
  }

  #kind(): 'tag' | 'field' {
    if (this.#lexer.take('TAG')) return 'tag'
    const { kind } = this.#lexer.next()
    return kind === 'word' ? 'field' : this.#lexer.fail('tag or field')
  }

  #timeTest(): Condition {
    const { kind, text: operator } = this.#lexer.next()
    if (kind !== 'symbol' || !['=', '<', '<=', '>', '>='].includes(operator)) {
      this.#lexer.fail('=, <, <=, > or >= behind time')
    }
    let nanoseconds = readMoment(this.#lexer, this.#now, this.#bound)
    for (;;) {
      const sign = this.#lexer.take('+') ? 1n : this.#lexer.take('-') ? -1n : 0n
      if (sign === 0n) return { kind: 'time', operator, nanoseconds }
      this.#count()
      nanoseconds += sign * readMoment(this.#lexer, this.#now, this.#bound)
    }
  }

  #groups(): Pick<SelectStatement, 'windows' | 'tags' | 'everyTag'> {
    let windows: SelectStatement['windows']
    let everyTag = false
    const tags: string[] = []
    if (!this.#lexer.take('GROUP')) return { windows, tags, everyTag }
    this.#lexer.expect('BY')
    this.#list(() => {
      if (this.#lexer.take('*')) {
        everyTag = true
        return
      }
      if (this.#lexer.pattern() !== undefined)
        this.#lexer.fail('the name of a tag before this; a pattern is not supported')
      const isWord = this.#lexer.peek().kind === 'word'
      const name = this.#name()
      if (isWord && name.toLowerCase() === 'time' && this.#lexer.take('(')) {
        const width = this.#duration()
        const offset = this.#lexer.take(',') ? this.#duration() : 0n
        this.#lexer.expect(')')
        if (width <= 0n) this.#lexer.fail('an interval above 0')
        windows = { width, offset }
        return
      }
      if (this.#lexer.take('::') && this.#kind() === 'field') this.#lexer.fail('a tag, not a field')
      if (!tags.includes(name)) tags.push(name)
    })
    return { windows, tags, everyTag }
  }

  #duration(): bigint {
    const sign = this.#lexer.take('-') ? -1n : 1n
    const { kind, text } = this.#lexer.next()
    return kind === 'duration' ? inRange(sign * durationOf(text)) : this.#lexer.fail('a duration, such as 1m')
  }

  #fill(): Fill {
    if (!this.#lexer.take('FILL')) return { kind: 'null' }
    this.#lexer.expect('(')
    const sign = this.#lexer.take('-') ? -1 : 1
    const { kind, text } = this.#lexer.next()
    this.#lexer.expect(')')
    const word = text.toLowerCase()
    if (kind === 'number') return { kind: 'number', value: sign * Number(text) }
    if (word === 'null' || word === 'none' || word === 'previous' || word === 'linear') return { kind: word }
    return this.#lexer.fail('fill(null), fill(none), fill(previous), fill(linear) or fill(0)')
  }

  #order(): boolean {
    if (!this.#lexer.take('ORDER')) return false
    this.#lexer.expect('BY')
    if (this.#name().toLowerCase() !== 'time') this.#lexer.fail('ORDER BY time; other orders are not supported')
    if (this.#lexer.take('DESC')) return true
    this.#lexer.take('ASC')
    return false
  }

  #limits(): RowLimits {
    const number = (word: string) => (this.#lexer.take(word) ? this.#count32() : undefined)
    const limit = number('LIMIT')
    const offset = number('OFFSET') ?? 0
    const seriesLimit = number('SLIMIT')
    const seriesOffset = number('SOFFSET') ?? 0
    // 0 is no limit, as in InfluxDB.
    return { limit: limit || undefined, offset, seriesLimit: seriesLimit || undefined, seriesOffset }
  }

  #zone(): void {
    this.#lexer.expect('(')
    const { text } = this.#lexer.next()
    if (text !== 'UTC') this.#lexer.fail("tz('UTC'); other time zones are not supported")
    this.#lexer.expect(')')
  }

  #count32(): number {
    const { kind, text } = this.#lexer.next()
    return kind === 'number' && /^\d{1,9}$/.test(text) ? Number(text) : this.#lexer.fail('a whole number')
  }

  #name(): string {
    const { kind, text } = this.#lexer.peek()
    if (kind !== 'word' && kind !== 'name') return this.#lexer.fail('a name')
    if (kind === 'word' && reserved.has(text.toUpperCase())) return this.#lexer.fail('a name')
    this.#lexer.next()
    return text
  }

  #list<T>(one: () => T): T[] {
    const found = [one()]
    while (this.#lexer.take(',')) {
      this.#count()
      found.push(one())
    }
    return found
  }

  #count(): void {
    if (++this.#listed > mostListed) this.#lexer.fail(`at most ${mostListed} things listed in a statement`)
  }
}

/** Reads a time: nanoseconds since the epoch. `depth`: signs and parentheses around the time. */
function readMoment(lexer: Lexer, now: bigint, bound: BoundValues, depth = 0): bigint {
  if (depth > deepest) lexer.fail(`at most ${deepest} parentheses in each other`)
  const { kind, text } = lexer.next()
  if (kind === 'duration') return inRange(durationOf(text))
  if (kind === 'number' && /^\d+$/.test(text)) return inRange(BigInt(text))
  if (kind === 'symbol' && text === '-') return -readMoment(lexer, now, bound, depth + 1)
  if (kind === 'symbol' && text === '(') {
    const inner = readMoment(lexer, now, bound, depth + 1)
    lexer.expect(')')
    return inner
  }
  if (kind === 'word' && text.toLowerCase() === 'now') {
    lexer.expect('(')
    lexer.expect(')')
    return now
  }
  const given = kind === 'bound' ? bound[text] : text
  const isText = kind === 'text' || kind === 'bound'
  const moment = isText && typeof given === 'string' ? momentOf(given) : undefined
  if (moment !== undefined) return moment
  if (kind === 'bound' && Number.isSafeInteger(given)) return BigInt(Number(given))
  return lexer.fail("a time behind it: now(), '2024-01-01T00:00:00Z', 1700000000000ms or nanoseconds")
}

/** Words that are no names unless quoted. */
const reserved = new Set(
  ['SELECT', 'FROM', 'WHERE', 'GROUP', 'ORDER', 'BY', 'LIMIT', 'OFFSET', 'SLIMIT', 'SOFFSET', 'AND', 'OR', 'AS'].concat(
    ['SHOW', 'WITH', 'IN', 'INTO', 'ON', 'FILL', 'DESC', 'ASC'],
  ),
)

/** Keeps sums of times within what InfluxDB and SQL have room for. */
function inRange(nanoseconds: bigint): bigint {
  if (nanoseconds > 9_223_372_036_854_775_807n || nanoseconds < -9_223_372_036_854_775_807n) {
    throw new SyntaxFault('error parsing query: a time or duration is out of range')
  }
  return nanoseconds
}
