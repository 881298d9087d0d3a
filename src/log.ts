import { type DestinationStream, type Logger, pino } from 'pino'
import type { Settings } from './config.js'

export type Log = Logger

/** Logs go to stderr; stdout is for what a program may want to read. */
export function createLog(settings: Pick<Settings, 'log.level' | 'log.format'>): Log {
  const format = settings['log.format']
  const text = format === 'text' || (format === 'auto' && process.stderr.isTTY)
  const options = { level: settings['log.level'], base: null }
  return text
    ? pino(options, textLines)
    : pino({ ...options, timestamp: pino.stdTimeFunctions.isoTime }, pino.destination(2))
}

const textLines: DestinationStream = {
  write(line: string) {
    const { time, level, msg } = JSON.parse(line) as { time: number; level: number; msg: string }
    const name = (pino.levels.labels[level] ?? 'info').padEnd(5)
    process.stderr.write(`${new Date(time).toLocaleTimeString()} ${name} ${msg.replace(/\p{Cc}/gu, visible)}\n`)
  },
}

/** Text of devices may hold control characters; a terminal would obey them. */
function visible(control: string): string {
  return control === '\n' || control === '\t' ? control : '?'
}
