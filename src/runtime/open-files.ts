import { readFileSync } from 'node:fs'

/**
 * Files and connections that this process may have open at a time. Infinity when the system does not report a limit.
 */
export function openFileLimit(): number {
  let limits: string
  try {
    limits = readFileSync('/proc/self/limits', 'utf8')
  } catch {
    return Number.POSITIVE_INFINITY
  }
  const [, soft] = /^Max open files\s+(\d+)/m.exec(limits) ?? []
  return soft === undefined ? Number.POSITIVE_INFINITY : Number(soft)
}

/**
 * Returns how many connections MQTT and HTTP may have by the settings and by the files that this process may have open.
 */
export function connectionRoom(
  settings: Readonly<Record<'limits.connections' | 'http.connections', number>>,
  openFiles = openFileLimit(),
): { mqtt: number; http: number } {
  return connectionsWithin(openFiles, settings['limits.connections'], settings['http.connections'])
}

/** Open files kept free for the spool, the store, RabbitMQ, and files that the hub reads now and then. */
const ownFiles = 150

/**
 * Returns how many connections MQTT and HTTP may have with `limit` open files, so that neither takes the last file of
 * the other: HTTP gets a quarter at most. `mqtt` and `http` are the limits in the settings.
 */
export function connectionsWithin(limit: number, mqtt: number, http: number): { mqtt: number; http: number } {
  const free = Math.max(16, limit - ownFiles)
  const ofHttp = Math.min(http, Math.max(4, Math.floor(free / 4)))
  return { http: ofHttp, mqtt: Math.min(mqtt, Math.max(12, free - ofHttp)) }
}

/** Warns when the settings allow more connections than this process may have files open. */
export function warnOfFewFiles(
  settings: Readonly<Record<'limits.connections' | 'http.connections', number>>,
  log: { warn(sentence: string): void },
): void {
  const openFiles = openFileLimit()
  const room = connectionRoom(settings, openFiles)
  if (room.mqtt >= settings['limits.connections'] && room.http >= settings['http.connections']) return
  log.warn(
    `this process may open ${openFiles} files, which is enough for ${room.mqtt} MQTT connections ` +
      `(limits.connections) and ${room.http} HTTP connections (http.connections); raise the limit (ulimit -n, LimitNOFILE)`,
  )
}
