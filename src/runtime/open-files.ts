import { readFileSync } from 'node:fs'

/** Files and connections that this process may have open at a time; Infinity when the system does not say. */
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

/** For the spool, the store, RabbitMQ, and what the hub reads now and then. */
const ownFiles = 150

/**
 * How many connections MQTT and HTTP may have with `limit` open files, so that neither takes the last one of the other:
 * HTTP gets a quarter at most. `mqtt` and `http` are what the settings ask for.
 */
export function connectionsWithin(limit: number, mqtt: number, http: number): { mqtt: number; http: number } {
  const free = Math.max(16, limit - ownFiles)
  const ofHttp = Math.min(http, Math.max(4, Math.floor(free / 4)))
  return { http: ofHttp, mqtt: Math.min(mqtt, Math.max(12, free - ofHttp)) }
}
