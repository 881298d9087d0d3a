import { readFileSync, statSync } from 'node:fs'
import { describe, HubError } from '../errors.js'
import type { KafkaAccess } from './client.js'

/** How to reach a cluster, with files that are not read yet. Empty texts: none. */
export interface KafkaLogin {
  readonly brokers: readonly string[]
  readonly mechanism: 'off' | 'plain' | 'scram-sha-256' | 'scram-sha-512'
  readonly user: string
  readonly password: string
  readonly passwordFile: string
  readonly tls: boolean
  readonly ca: string
  readonly cert: string
  readonly key: string
}

/**
 * Reads the files with password, certificates and key. Throws `bad_settings` for a file that cannot be read, and for one
 * with the password that others may read.
 *
 * @param names Names of the settings, for sentences: `kafka.sasl.` and `kafka.tls.`
 */
export function accessOf(login: KafkaLogin, names: { readonly sasl: string; readonly tls: string }): KafkaAccess {
  const { brokers, mechanism, user, password, passwordFile, tls, ca, cert, key } = login
  const pem = (name: string, path: string) => ({ [name]: textOf(`${names.tls}${name}`, path) })
  return {
    brokers,
    ...(mechanism !== 'off' && {
      sasl: {
        mechanism,
        user,
        password: passwordFile ? secretOf(`${names.sasl}passwordFile`, passwordFile) : password,
      },
    }),
    ...(tls && {
      tls: { ...(ca && pem('ca', ca)), ...(cert && pem('cert', cert)), ...(key && pem('key', key)) },
    }),
  }
}

function textOf(setting: string, path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw new HubError('bad_settings', `${setting}: ${path} cannot be read: ${describe(error)}`, { cause: error })
  }
}

function secretOf(setting: string, path: string): string {
  const secret = textOf(setting, path).replace(/\r?\n$/, '')
  const others = statSync(path).mode & 0o077
  if (others !== 0)
    throw new HubError('bad_settings', `${setting}: others than its owner may read ${path}; chmod 600 ${path}`)
  if (secret === '') throw new HubError('bad_settings', `${setting}: ${path} is empty, and should hold the password`)
  return secret
}
