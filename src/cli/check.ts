import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { environmentValue } from '../config/config.js'
import type { Settings } from '../config/settings.js'
import { describe, HubError } from '../errors.js'
import { readPlan } from '../notify/notify.js'
import { plain } from '../observe/log.js'
import { loadTls, tlsPaths } from '../transport/tls.js'
import { readUsers } from '../users/users.js'
import { type Command, command } from './command.js'

export const checkCommand: Command = command({
  name: 'check',
  summary: 'check the settings and the files that they name, and list all mistakes at once',
  examples: ['telehub check', 'telehub check --config /etc/telehub.yaml'],
  settings: 'serves',
  run: ({ settings, terminal }) => {
    checkFiles(settings())
    terminal.out('Settings OK\n')
    return 0
  },
})

/**
 * Checks the files that the settings name. Throws what is wrong with all of them, in the words of the hub that starts.
 */
function checkFiles(settings: Settings): void {
  const faults: string[] = []
  const attempt = (check: () => void) => {
    try {
      check()
    } catch (error) {
      faults.push(describe(error))
    }
  }
  if (settings['tls.cert']) attempt(() => loadTls(tlsPaths(settings)))
  const users = settings['auth.file']
  if (users) attempt(() => checkUsers(resolve(users)))
  attempt(() => checkTargets(settings))
  if (faults.length > 0) throw new HubError('bad_settings', faults.join('\n'))
}

function checkUsers(file: string): void {
  if (!existsSync(file)) {
    throw new HubError(
      'bad_settings',
      `auth.file: there is no file ${file}; telehub user add NAME --kind admin makes it`,
    )
  }
  try {
    if (readUsers(file).users.size > 0) return
  } catch (error) {
    const faults = describe(error).split('\n')
    throw new HubError('bad_settings', faults.map(fault => `auth.file: ${fault}`).join('\n'), { cause: error })
  }
  process.stderr.write(
    `telehub: auth.file: ${plain(file)} has no users, so nobody can log in; telehub user add NAME --kind admin makes the first\n`,
  )
}

function checkTargets(settings: Settings): void {
  const usual = join(resolve(settings['data.dir']), 'notify.yaml')
  const file = settings['notify.file'] ? resolve(settings['notify.file']) : existsSync(usual) ? usual : ''
  if (!file) return
  try {
    readPlan(file, environmentValue, 'UTC')
  } catch (error) {
    const faults = describe(error).split('\n')
    throw new HubError('bad_settings', faults.map(fault => `notify.file: ${fault}`).join('\n'), { cause: error })
  }
}
