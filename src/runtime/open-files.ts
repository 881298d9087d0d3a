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
