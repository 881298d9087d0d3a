import { join, resolve } from 'node:path'
import type { Settings } from '../config/settings.js'
import type { AuthorityOptions } from './authority.js'
import type { BansOptions } from './bans.js'
import type { LoginsOptions } from './logins.js'

export function loginSettings(settings: Settings, dir: string) {
  return {
    path: join(dir, 'logins.json'),
    loginMs: settings['auth.login'],
    maxMs: settings['auth.loginMax'],
  } satisfies Partial<LoginsOptions>
}

export function banSettings(settings: Settings, dir: string) {
  return {
    path: join(dir, 'bans.json'),
    failures: settings['auth.banAfter'],
    firstMs: settings['auth.ban'],
    exempt: settings['proxy.trusted'],
  } satisfies Partial<BansOptions>
}

export function authoritySettings(settings: Settings, dir: string) {
  return {
    file: settings['auth.file'] && resolve(settings['auth.file']),
    anonymous: settings['auth.anonymous'],
    attempts: settings['auth.attempts'],
    share: settings['limits.share'] / 100,
    saltKey: join(dir, 'salt.key'),
  } satisfies Partial<AuthorityOptions>
}
