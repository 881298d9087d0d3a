import { SyntaxFault } from './statement.js'

export interface Token {
  readonly kind: 'word' | 'name' | 'text' | 'number' | 'duration' | 'bound' | 'symbol' | 'end'
  /** Without quotes. A word as written; symbols as they are. */
  readonly text: string
  readonly at: number
}

const space = /(?:\s+|--[^\n]*(?:\n|$))*/y

/** One alternative for each kind of token. Each is linear: no character can be matched by two repetitions. */
const token =
  /([A-Za-z_][A-Za-z0-9_]*)|"((?:[^"\\\n]|\\.)*)"|'((?:[^'\\\n]|\\.)*)'|((?:\d+(?:ns|ms|u|µ|s|m|h|d|w))+)(?![A-Za-z0-9_.])|(\d+(?:\.\d+)?|\.\d+)|\$("?)([A-Za-z_][A-Za-z0-9_]*)\6|(::|=~|!~|!=|<>|<=|>=|[=<>(),;.*/+%-])/y

const escapes: Readonly<Record<string, string>> = { n: '\n', '"': '"', "'": "'", '\\': '\\' }

/** Reads tokens of InfluxQL, one at a time: whether a slash begins a regular expression depends on the place. */
export class Lexer {
  readonly #source: string
  #at = 0
  #peeked: Token | undefined

  constructor(source: string) {
    this.#source = source
  }

  peek(): Token {
    this.#peeked ??= this.#read()
    return this.#peeked
  }

  next(): Token {
    const found = this.peek()
    this.#peeked = undefined
    return found
  }

  /** Returns the next token when it is this symbol, or this word in any case. */
  take(text: string): Token | undefined {
    return this.sees(text) ? this.next() : undefined
  }

  sees(text: string): boolean {
    const { kind, text: found } = this.peek()
    return kind === 'symbol' ? found === text : kind === 'word' && found.toUpperCase() === text
  }

  expect(text: string): Token {
    return this.take(text) ?? this.fail(text)
  }

  /** Returns the regular expression that is next, without the slashes; undefined when another thing is next. */
  pattern(): string | undefined {
    const { kind, text, at } = this.peek()
    if (kind !== 'symbol' || text !== '/') return undefined
    let pattern = ''
    for (let i = at + 1; i < this.#source.length; i++) {
      const char = this.#source[i] as string
      if (char === '\n') break
      if (char === '/') {
        this.#at = i + 1
        this.#peeked = undefined
        return pattern
      }
      // A slash is escaped for InfluxQL, all others for the regular expression.
      if (char === '\\' && this.#source[i + 1] === '/') i++
      else if (char === '\\') pattern += this.#source[i++]
      pattern += this.#source[i] ?? ''
    }
    throw this.#fault('a regular expression has no end', at)
  }

  /** Throws what was expected instead of the next token. */
  fail(expected: string): never {
    const { kind, text, at } = this.peek()
    throw this.#fault(`found ${kind === 'end' ? 'EOF' : text.slice(0, 100)}, expected ${expected}`, at)
  }

  #fault(sentence: string, at: number): SyntaxFault {
    const lines = this.#source.slice(0, at).split('\n')
    return new SyntaxFault(
      `error parsing query: ${sentence} at line ${lines.length}, char ${(lines.at(-1)?.length ?? 0) + 1}`,
    )
  }

  #read(): Token {
    space.lastIndex = this.#at
    space.exec(this.#source)
    const at = space.lastIndex
    this.#at = at
    if (at >= this.#source.length) return { kind: 'end', text: '', at }
    token.lastIndex = at
    const found = token.exec(this.#source)
    if (!found) throw this.#fault(`found ${JSON.stringify(this.#source[at])}, which begins nothing`, at)
    this.#at = token.lastIndex
    const [, word, name, text, duration, number, , bound, symbol] = found
    if (word !== undefined) return { kind: 'word', text: word, at }
    if (name !== undefined) return { kind: 'name', text: this.#unescaped(name, at), at }
    if (text !== undefined) return { kind: 'text', text: this.#unescaped(text, at), at }
    if (duration !== undefined) return { kind: 'duration', text: duration, at }
    if (number !== undefined) return { kind: 'number', text: number, at }
    if (bound !== undefined) return { kind: 'bound', text: bound, at }
    return { kind: 'symbol', text: symbol === '<>' ? '!=' : (symbol ?? ''), at }
  }

  #unescaped(text: string, at: number): string {
    if (!text.includes('\\')) return text
    return text.replace(/\\([\s\S])/g, (_, char: string) => {
      const meant = escapes[char]
      if (meant === undefined) throw this.#fault(`the escape \\${char} is not known`, at)
      return meant
    })
  }
}
