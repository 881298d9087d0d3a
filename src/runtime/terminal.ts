import { HubError } from '../errors.js'

/* Output and prompts of the commands: for people, and safe to print whatever the values contain. */

/** The longest cell: a longer one would make every row as wide. */
const widest = 60

export function table(head: readonly string[], all: readonly (readonly string[])[]): string {
  const rows = all.map(row => row.map(cell => (cell.length > widest ? `${cell.slice(0, widest - 1)}…` : cell)))
  const widths = head.map((title, i) => Math.max(title.length, ...rows.map(row => row[i]?.length ?? 0)))
  const line = (cells: readonly string[]) =>
    `${cells
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .join('  ')
      .trimEnd()}\n`
  return [head, ...rows].map(line).join('')
}

export function many(number: number, what: string): string {
  return `${count(number)} ${what}${number === 1 ? '' : 's'}`
}

export function count(number: number): string {
  return number.toLocaleString('en')
}

/** Formats a number of bytes for people, in powers of ten: `1.2 GB`. */
export function bytes(size: number): string {
  const unit = (
    [
      ['GB', 1e9],
      ['MB', 1e6],
      ['KB', 1e3],
    ] as const
  ).find(([, factor]) => size >= factor)
  return unit ? `${(size / unit[1]).toFixed(1)} ${unit[0]}` : `${size} B`
}

export function time(ms: number): string {
  return new Date(ms)
    .toISOString()
    .replace('T', ' ')
    .replace(/\.\d+Z$/, 'Z')
}

/** The longest password with a line end: input from a pipe need not end. */
const maxLine = 10_000

/** Asks on the terminal for a line that is not echoed. Rejects when the operator gives up. */
export function askHidden(question: string): Promise<string> {
  const { stdin, stderr } = process
  stdin.setEncoding('utf8')
  // Before the question: the first letters of a fast typist must not be echoed.
  stdin.setRawMode(true)
  stderr.write(question)
  return new Promise((resolve, reject) => {
    let typed = ''
    const end = (rest: string) => {
      stdin.off('data', take)
      stdin.setRawMode(false)
      stdin.pause()
      stderr.write('\n')
      // A pasted text may answer the next question, too.
      if (rest) stdin.unshift(rest, 'utf8')
    }
    const take = (text: string) => {
      const chars = [...text]
      for (const [i, char] of chars.entries()) {
        if (char === '\r' || char === '\n') {
          end(chars.slice(i + 1).join(''))
          return resolve(typed)
        }
        if (char === '\u0003' || char === '\u0004') {
          end('')
          return reject(new HubError('bad_request', 'cancelled; nothing was changed'))
        }
        if (char === '\u007f' || char === '\b') typed = [...typed].slice(0, -1).join('')
        else if (char === '\u0015') typed = ''
        else if (typed.length < maxLine) typed += char
      }
    }
    stdin.on('data', take)
    stdin.resume()
  })
}

/** The first line of stdin; empty when stdin is empty. */
export async function firstLine(): Promise<string> {
  let text = ''
  process.stdin.setEncoding('utf8')
  for await (const chunk of process.stdin) {
    text += chunk
    if (text.includes('\n') || text.length > maxLine) break
  }
  return text.split(/\r?\n/)[0] ?? ''
}
