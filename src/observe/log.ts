import { type DestinationStream, type Logger, pino } from 'pino'
import type { Settings } from '../config/settings.js'
import { withoutPasswords } from '../errors.js'

export type Log = Logger

/** A log that takes sentences for an operator. The log of the hub is one; other threads forward theirs to it. */
export interface SentenceLog {
  info(sentence: string): void
  warn(sentence: string): void
}

/** A log that also takes sentences for those who look for the cause of something. */
export interface DebugLog extends SentenceLog {
  debug(sentence: string): void
}

/** Creates the log on stderr; stdout is for output that a program may want to read. */
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

/**
 * Replaces pino's own destination, which waits for ever at the end of the process for a reader that has gone
 * (sonic-boom 4).
 */
const jsonLines: DestinationStream = {
  write: (line: string) => void process.stderr.write(withoutPasswords(escaped(line))),
}

/** Characters that end a line somewhere, move the cursor, colour the terminal or change the direction of the text. */
const unsafe = /\p{Cc}|\p{Zl}|\p{Zp}|\p{Bidi_Control}/gu

/** Makes text of devices safe for a line that people read: no character begins another line or controls a terminal. */
export function plain(text: string, lines = false): string {
  return text.replace(unsafe, char => (lines && (char === '\n' || char === '\t') ? char : '\uFFFD'))
}

/** Returns the same JSON, safe to print; line ends between values stay. */
export function escaped(json: string): string {
  return json.replace(unsafe, char => (char === '\n' ? char : `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`))
}

/** Limits a log to ten sentences a second; the next sentence let through reports how many were suppressed. */
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
    say(unsaid > 0 ? `${sentence} (and ${unsaid} more like it)` : sentence)
    unsaid = 0
  }
}
