import type { SeriesId, Tags } from '../model.js'
import type { SeriesReader } from '../store/store.js'
import { type Condition, type Reference, StatementError, type TextTest } from './statement.js'

/** A range of times in nanoseconds since the epoch; both ends are included. Undefined: no bound. */
export interface TimeRange {
  readonly from: bigint | undefined
  readonly to: bigint | undefined
}

/** Returns the range that a condition leaves. Throws when a time is part of anything but AND. */
export function timeRange(condition: Condition | undefined): TimeRange {
  let from: bigint | undefined
  let to: bigint | undefined
  const least = (time: bigint) => {
    if (from === undefined || time > from) from = time
  }
  const most = (time: bigint) => {
    if (to === undefined || time < to) to = time
  }
  const visit = (one: Condition, isBelowOr: boolean): void => {
    if (one.kind === 'and' || one.kind === 'or') {
      visit(one.left, isBelowOr || one.kind === 'or')
      visit(one.right, isBelowOr || one.kind === 'or')
    } else if (one.kind === 'time') {
      if (isBelowOr) throw new StatementError('a condition on time below OR is not supported')
      if (one.operator === '=' || one.operator.startsWith('>'))
        least(one.nanoseconds + (one.operator === '>' ? 1n : 0n))
      if (one.operator === '=' || one.operator.startsWith('<')) most(one.nanoseconds - (one.operator === '<' ? 1n : 0n))
    }
  }
  if (condition) visit(condition, false)
  return { from, to }
}

/** Returns the tests of tags in a condition. */
export function tagTests(condition: Condition | undefined): readonly (TextTest & { readonly tag: Reference })[] {
  if (!condition || condition.kind === 'time') return []
  if (condition.kind === 'tag') return [condition]
  return [...tagTests(condition.left), ...tagTests(condition.right)]
}

/** Returns tags that every series has which fulfils a condition. */
export function neededTags(condition: Condition | undefined): Tags {
  if (condition?.kind === 'and') return [...neededTags(condition.left), ...neededTags(condition.right)]
  if (condition?.kind !== 'tag' || condition.operator !== '=' || condition.value === '') return []
  return [[condition.tag.name, condition.value]]
}

/** Returns the value of a tag; a tag that a series does not have is an empty text. */
export function tagOf({ tags }: Pick<SeriesId, 'tags'>, name: string): string {
  return tags.find(([one]) => one === name)?.[1] ?? ''
}

/** Resolves with those texts for which a test holds. Regular expressions are evaluated by the store, in linear time. */
export async function passing(
  reader: SeriesReader,
  { operator, value }: TextTest,
  texts: Iterable<string>,
): Promise<ReadonlySet<string>> {
  const all = [...new Set(texts)]
  if (operator === '=' || operator === '!=') {
    return new Set(all.filter(text => (text === value) === (operator === '=')))
  }
  const matched = new Set((await reader.matching(value, all)).map(i => all[i] as string))
  return operator === '=~' ? matched : new Set(all.filter(text => !matched.has(text)))
}

/** Resolves with the series that fulfil a condition on tags. */
export async function fulfilling<S extends Pick<SeriesId, 'tags'>>(
  reader: SeriesReader,
  condition: Condition | undefined,
  series: readonly S[],
): Promise<readonly S[]> {
  const tests = tagTests(condition)
  if (!condition || tests.length === 0) return series
  const passed = new Map<Condition, ReadonlySet<string>>()
  for (const test of tests) {
    const values = series.map(one => tagOf(one, test.tag.name))
    passed.set(test as unknown as Condition, await passing(reader, test, values))
  }
  const holds = (one: Condition, of: S): boolean => {
    switch (one.kind) {
      case 'and':
        return holds(one.left, of) && holds(one.right, of)
      case 'or':
        return holds(one.left, of) || holds(one.right, of)
      case 'time':
        return true
      case 'tag':
        return passed.get(one)?.has(tagOf(of, one.tag.name)) ?? false
    }
  }
  return series.filter(one => holds(condition, one))
}
