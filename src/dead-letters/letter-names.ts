/**
 * The files of dead letters:
 *
 *     dead/0000000001.log      letters, in the order they came: letter-file.ts
 *          0000000001.gone     where those begin in it that are gone: letter-marks.ts
 *          0000000002.3.log    rewritten three times without what was gone; 0000000002.3.gone belongs to this one alone
 *          0000000002.4.new    being rewritten
 *     dead.index               which of them there are, and how much is in each: letter-index.ts
 *
 * A crash may leave, and a start removes: `.new`; a `.log` of which there is a later one; a `.gone` without its `.log`.
 * Damaged files are kept as `.bad`.
 */
const namePattern = /^(\d{10})(?:\.(\d+))?\.(log|gone|new)$/

export interface FileName {
  readonly number: number
  /** How often it was written anew. */
  readonly generation: number
  readonly kind: 'log' | 'gone' | 'new'
}

export function parseName(name: string): FileName | undefined {
  const [, number, generation = '0', kind] = namePattern.exec(name) ?? []
  if (number === undefined) return undefined
  return { number: Number(number), generation: Number(generation), kind: kind as FileName['kind'] }
}

export function nameOf({ number, generation, kind }: FileName): string {
  return `${String(number).padStart(10, '0')}${generation > 0 ? `.${generation}` : ''}.${kind}`
}
