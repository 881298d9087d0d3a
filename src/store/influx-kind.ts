import { type InfluxConnection, unavailable } from './influx-connection.js'
import { InfluxOne, type InfluxServer } from './influx-server.js'
import { InfluxThree } from './influx-three.js'
import { InfluxTwo } from './influx-two.js'

/**
 * Asks a server which InfluxDB this is. Rejects with `store_unavailable` when nothing answers, when the server refuses who
 * asks, or does not name a version of InfluxDB: other servers take lines and lose values. VictoriaMetrics answers a write
 * with 204, stores texts as 0, and answers no InfluxQL.
 */
export async function serverOf(connection: InfluxConnection): Promise<InfluxServer> {
  const ping = await connection.ask('/ping')
  if (ping.status === 401 || ping.status === 403 || ping.status === 429 || ping.status >= 500)
    throw connection.answered(ping)
  const version = ping.headers.get('x-influxdb-version') ?? versionIn(ping.body) ?? (await health(connection))
  const major = version === undefined ? undefined : /^v?(\d+)\.|cloud/i.exec(version)
  if (version === undefined || !major) throw unavailable(strangerAt(connection, version))
  switch (major[1]) {
    case '1':
      return new InfluxOne(connection, version)
    case '3':
      return new InfluxThree(connection, version)
    case '2':
    case undefined:
      // Without a token, the API of 1.x that 2.x has too takes user and password.
      return connection.token === '' ? new InfluxOne(connection, version) : new InfluxTwo(connection, version)
    default:
      throw unavailable(strangerAt(connection, version))
  }
}

/** Sentence about a server that is no InfluxDB known here. */
function strangerAt(connection: InfluxConnection, version: string | undefined): string {
  const said = version === undefined ? 'does not say that it is InfluxDB' : `says that it is version ${version}`
  return (
    `what answers at ${connection.place} ${said}; the hub stores in InfluxDB 1.x, 2.x and 3.x alone: VictoriaMetrics, Telegraf ` +
    'and others take the same lines but store texts as 0, or cannot be asked for readings; check host, port and path in influx.url'
  )
}

async function health(connection: InfluxConnection): Promise<string | undefined> {
  const { status, body } = await connection.ask('/health')
  return status === 200 ? versionIn(body) : undefined
}

/** Returns the version in an answer of `/ping` (3.x) or `/health` (1.8, 2.x). */
function versionIn(body: string): string | undefined {
  try {
    const { version, name, revision } = JSON.parse(body) as Record<string, unknown>
    const isInflux = name === 'influxdb' || revision !== undefined
    return isInflux && typeof version === 'string' ? version : undefined
  } catch {
    return undefined
  }
}
