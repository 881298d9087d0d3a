import { escaped } from '../observe/log.js'
import type { Terminal } from './command.js'

/** Prints an answer as JSON. Returns the exit code. */
export function printJson(out: Terminal['out'], answer: unknown): number {
  out(`${escaped(JSON.stringify(answer, undefined, 2))}\n`)
  return 0
}
