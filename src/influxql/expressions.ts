import type { Lexer } from './lexer.js'
import { durationOf } from './moments.js'
import type { Expression, Operator } from './statement.js'

/** Maximum number of operators and calls in one expression. */
const most = 200

/** Reads an expression of SELECT: fields, calls, numbers, arithmetic. `deepest`: most parentheses in each other. */
export function parseExpression(lexer: Lexer, deepest: number): Expression {
  let count = 0
  const sum = (depth: number): Expression => {
    let left = product(depth)
    for (let operator = take('+', '-'); operator; operator = take('+', '-')) {
      left = { kind: 'binary', operator, left, right: product(depth) }
    }
    return left
  }
  const product = (depth: number): Expression => {
    let left = operand(depth)
    for (let operator = take('*', '/', '%'); operator; operator = take('*', '/', '%')) {
      left = { kind: 'binary', operator, left, right: operand(depth) }
    }
    return left
  }
  const take = (...operators: readonly Operator[]): Operator | undefined =>
    operators.find(operator => lexer.take(operator))

  const operand = (depth: number): Expression => {
    if (++count > most) lexer.fail(`at most ${most} operands`)
    if (depth > deepest) lexer.fail(`at most ${deepest} parentheses in each other`)
    if (lexer.take('(')) {
      const inner = sum(depth + 1)
      lexer.expect(')')
      return inner
    }
    if (lexer.take('*')) return { kind: 'wildcard' }
    const pattern = lexer.pattern()
    if (pattern !== undefined) return { kind: 'wildcard', pattern }
    if (lexer.take('-')) {
      const inner = operand(depth + 1)
      if (inner.kind === 'number') return { kind: 'number', value: -inner.value }
      return { kind: 'binary', operator: '*', left: { kind: 'number', value: -1 }, right: inner }
    }
    const { kind, text } = lexer.peek()
    if (kind === 'number') return { kind, value: Number(lexer.next().text) }
    if (kind === 'duration') return { kind, nanoseconds: durationOf(lexer.next().text) }
    if (kind !== 'word' && kind !== 'name') return lexer.fail('a field, a function or a number')
    if (kind === 'word' && text.toUpperCase() === 'FROM') return lexer.fail('a field, a function or a number')
    lexer.next()
    if (kind === 'word' && lexer.take('(')) return { kind: 'call', name: text.toLowerCase(), given: list(depth + 1) }
    if (!lexer.take('::')) return { kind: 'field', name: text }
    return { kind: 'field', name: text, of: lexer.take('TAG') ? 'tag' : lexer.next() && 'field' }
  }
  const list = (depth: number): readonly Expression[] => {
    if (lexer.take(')')) return []
    const given = [sum(depth)]
    while (lexer.take(',')) given.push(sum(depth))
    lexer.expect(')')
    return given
  }
  return sum(0)
}
