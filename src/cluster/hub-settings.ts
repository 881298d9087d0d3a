import { hostname } from 'node:os'
import type { Settings } from '../config/settings.js'

/** The cluster that a hub is in, and the store that all hubs of the cluster share. */
export interface ClusterIdentity {
  /** Empty: the hub is alone. */
  readonly name: string
  /** Host and path of InfluxDB, with the organisation and the bucket where the settings name them. */
  readonly store: string
}

export function clusterOf(
  settings: Pick<Settings, 'cluster.name' | 'influx.url' | 'influx.org' | 'influx.bucket'>,
): ClusterIdentity {
  const url = settings['influx.url']
  const { host, pathname } = url ? new URL(url) : { host: '', pathname: '' }
  const { 'influx.org': org, 'influx.bucket': bucket } = settings
  const parts = [`${host}${pathname}`, org && `organisation ${org}`, bucket && `bucket ${bucket}`]
  return { name: settings['cluster.name'], store: parts.filter(Boolean).join(', ') }
}

/**
 * Returns who uses RabbitMQ, in words: a hub alone, or a cluster with the store. Hubs of which these words are the same
 * may use one virtual host.
 */
export function holderOf({ name, store }: ClusterIdentity, hubId: string): string {
  return name === '' ? `hub ${hubId}, in no cluster` : `cluster ${name}, store ${store}`
}

/** Returns the address under which people reach the hub, as shown by other hubs. */
export function addressOf(settings: Pick<Settings, 'cluster.address' | 'http.port' | 'tls.cert'>): string {
  if (settings['cluster.address']) return settings['cluster.address']
  return `${settings['tls.cert'] ? 'https' : 'http'}://${hostname()}:${settings['http.port']}`
}
