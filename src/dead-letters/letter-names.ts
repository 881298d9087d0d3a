/**
 * The files of dead letters:
 *
 *     dead/0000000001.log      letters in the order of arrival: letter-file.ts
 *          0000000001.gone     offsets of removed letters: letter-marks.ts
 *          0000000002.3.log    compacted three times; 0000000002.3.gone belongs to this generation
 *          0000000002.4.new    being compacted
 *     dead.index               list of the files with the content of each: letter-index.ts
 *
 * A start deletes what a crash may leave: a `.new`, a `.log` with a later generation, a `.gone` without its `.log`.
 * Damaged files are kept as `.bad`.
 */
const namePattern = /^(\d{10})(?:\.(\d+))?\.(log|gone|new)$/

export interface FileName {
  readonly number: number
  /** Number of compactions. */
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
