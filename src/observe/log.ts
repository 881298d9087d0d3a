import { type DestinationStream, type Logger, pino } from 'pino'
import type { Settings } from '../config/config.js'
import { withoutPasswords } from '../errors.js'

export type Log = Logger

/** Logs go to stderr; stdout is for what a program may want to read. */
export function createLog(settings: Pick<Settings, 'log.level' | 'log.format'>): Log {
  const format = settings['log.format']
  const text = format === 'text' || (format === 'auto' && process.stderr.isTTY)
  const options = { level: settings['log.level'], base: null }
  return text ? pino(options, textLines) : pino({ ...options, timestamp: pino.stdTimeFunctions.isoTime }, jsonLines)
}

const textLines: DestinationStream = {
  write(line: string) {
    const { time, level, msg } = JSON.parse(line) as { time: number; level: number; msg: string }
    const name = (pino.levels.labels[level] ?? 'info').padEnd(5)
    process.stderr.write(`${new Date(time).toLocaleTimeString()} ${name} ${withoutPasswords(plain(msg))}\n`)
  },
}

/** Not pino's own destination: at the end of the process it waits for ever for a reader that has gone (sonic-boom 4). */
const jsonLines: DestinationStream = {
  write: (line: string) => void process.stderr.write(withoutPasswords(escaped(line))),
}

/** What ends a line somewhere, moves the cursor, colours the terminal or turns the text around. */
const unsafe = /\p{Cc}|\p{Zl}|\p{Zp}|\p{Bidi_Control}/gu

/** Text of devices for a line people read: nothing in it begins another one, or is obeyed by a terminal. */
export function plain(text: string, lines = false): string {
  return text.replace(unsafe, char => (lines && (char === '\n' || char === '\t') ? char : '\uFFFD'))
}

/** The same JSON, but safe to print; its own line ends stay. */
export function escaped(json: string): string {
  return json.replace(unsafe, char => (char === '\n' ? char : `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`))
}

/** Ten sentences a second are let through; the next one says how many were not. */
export function rateLimited(say: (sentence: string) => void): (sentence: string) => void {
  let second = 0
  let said = 0
  let unsaid = 0
  return sentence => {
    const now = Math.floor(performance.now() / 1_000)
    if (now !== second) said = 0
    second = now
    if (said++ >= 10) {
      unsaid++
      return
    }
    say(unsaid > 0 ? `${sentence} (and ${unsaid} more like it before)` : sentence)
    unsaid = 0
  }
}
