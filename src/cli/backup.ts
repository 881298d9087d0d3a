import { resolve } from 'node:path'
import type { Settings } from '../config/settings.js'
import { DataDirLock } from '../disk/lock.js'
import { HubError } from '../errors.js'
import { bytes, count, many, time } from '../runtime/terminal.js'
import { type Call, type Command, command, type Flags } from './command.js'
import { hubFlags, hubOf } from './hub-address.js'
import { printJson } from './print.js'

/* `telehub backup …` and `telehub restore`: copies of a data directory, of a running hub, too. */

const restoreFlags = {
  to: { value: 'DATA_DIR', help: 'where the data directory is made: empty, or not there; default: data.dir' },
  'new-id': { help: 'gives the restored hub an identity of its own, so that it can run beside the original' },
  json: { help: 'print the answer as JSON' },
} as const satisfies Flags

export const backupCommands: readonly Command[] = [
  command({
    name: 'backup verify',
    takes: ['DIR'],
    summary: 'read a backup through, and compare each piece with its SHA-256',
    about: 'Ends with 0 when the backup is whole, 1 otherwise.',
    flags: { json: { help: 'print the answer as JSON' } },
    examples: ['telehub backup verify /mnt/usb/hub'],
    settings: 'none',
    run: verifyBackup,
  }),
  command({
    name: 'backup',
    takes: ['DIR'],
    summary: 'copy the data directory of a hub, running or not, into DIR; again: only what has changed',
    about:
      'All that the hub has acknowledged up to one sequence number is in the copy, with users, keys and other secrets: keep DIR\n' +
      'as safe as data.dir. The files are readable for the user who runs this alone. An interrupted backup leaves the one before whole.',
    flags: hubFlags,
    examples: ['telehub backup /mnt/usb/hub'],
    run: makeBackup,
  }),
  command({
    name: 'restore',
    takes: ['DIR'],
    summary: 'make a data directory of a backup, and print the balance sheet of the cut',
    about:
      'The restored hub has the identity of the original, and must not run beside it; --new-id makes a copy that may.\n' +
      'An interrupted restore is begun anew by calling it again; no hub starts in what it left.',
    flags: restoreFlags,
    examples: ['telehub restore /mnt/usb/hub --to /var/lib/telehub'],
    run: restoreBackup,
  }),
]

const shown = (call: Pick<Call, 'terminal'>) => {
  let next = 0
  return {
    report: (done: number, total: number) => {
      if (done < next && done < total) return
      next = done + total / 200
      call.terminal.progress(`${bytes(done)} of ${bytes(total)}`)
    },
  }
}

async function makeBackup(call: Call<typeof hubFlags>): Promise<number> {
  const { terminal, flags, version } = call
  const settings = call.settings()
  const data = resolve(settings['data.dir'])
  const { backUp } = await import('../backup/backup.js')
  const lock = new DataDirLock({ dir: data, log: { warn: () => {} } })
  const isFree = await lock.start().then(
    () => true,
    (error: unknown) => {
      if (error instanceof HubError && error.code === 'data_dir_locked') return false
      throw error
    },
  )
  try {
    const result = await backUp({
      ...{ data, to: resolve(call.args[0] as string), version },
      hub: isFree ? undefined : heldHub(call, data),
      outside: outsideOf(settings, data),
      without: withoutOf(settings),
      progress: shown(call),
      clock: terminal,
    })
    terminal.progress('')
    const { manifest, bytes: size, written } = result
    if (flags.json) return printJson(terminal.out, { ...manifest, files: manifest.files.length, bytes: size, written })
    terminal.out(
      `backed up: everything up to message ${count(manifest.sequence)}, ${many(manifest.files.length, 'file')} of ${bytes(size)}, ${bytes(written)} of that new\n` +
        `${call.args[0]} holds keys and passwords of the hub: keep it as safe as data.dir\n`,
    )
    for (const sentence of manifest.without) terminal.out(`not in the backup: ${sentence}\n`)
    return 0
  } finally {
    terminal.progress('')
    if (isFree) await lock.stop()
  }
}

/** Returns the running hub, which must be the one of this directory. */
function heldHub(call: Call<typeof hubFlags>, data: string) {
  const hub = hubOf(call)
  return {
    hold: async () => {
      const answer = await hub.ask('POST /api/backup/hold', { seconds: 60 })
      const { identityOf } = await import('../backup/backup.js')
      if (answer.hub === identityOf(data)) return answer.store
      throw new HubError(
        'bad_request',
        `the hub at ${hub.at('')} is not the one of ${data}: give its address with --url`,
      )
    },
    release: async () => {
      await hub.ask('POST /api/backup/release', {})
    },
  }
}

/** Returns the files that settings name outside the data directory. */
function outsideOf(settings: Settings, data: string): Record<string, string> {
  const named = (['auth.file', 'alerts.file', 'notify.file'] as const).map(key => [key, settings[key]] as const)
  const outside = named.filter(([, path]) => path !== '' && !resolve(path).startsWith(`${data}/`))
  return Object.fromEntries(outside.map(([key, path]) => [key, resolve(path)]))
}

function withoutOf(settings: Settings): string[] {
  const host = (url: string) => new URL(url).host
  return [
    ...(settings['influx.url']
      ? [`the readings in InfluxDB (${host(settings['influx.url'])}): back them up with influxd backup`]
      : []),
    ...(settings['rabbitmq.url'].length > 0
      ? [`messages that wait in RabbitMQ (${settings['rabbitmq.url'].map(host).join(', ')}), and its dead letters`]
      : []),
    ...(settings['kafka.brokers'].length > 0
      ? [`messages that wait in Kafka (${settings['kafka.brokers'].join(', ')})`]
      : []),
    ...(settings['tls.cert'] ? ['certificates and their keys (tls.*)'] : []),
    'telehub.yaml and the environment',
  ]
}

async function verifyBackup(call: Call<{ readonly json: { readonly help: string } }>): Promise<number> {
  const { terminal, flags, version } = call
  const { verify } = await import('../backup/backup.js')
  const { manifest, faults } = await verify(resolve(call.args[0] as string), version, shown(call))
  terminal.progress('')
  const { files, sequence, at } = manifest
  if (flags.json)
    return printJson(terminal.out, { faults, files: files.length, sequence, at }) || (faults.length > 0 ? 1 : 0)
  for (const fault of faults) terminal.out(`${fault}\n`)
  if (faults.length > 0) {
    terminal.out('the backup is damaged: remove the files named, and run telehub backup again\n')
    return 1
  }
  terminal.out(`whole: ${many(files.length, 'file')}, up to message ${count(sequence)}, of ${time(at)}\n`)
  return 0
}

async function restoreBackup(call: Call<typeof restoreFlags>): Promise<number> {
  const { terminal, flags, version } = call
  const { restore, verify } = await import('../backup/backup.js')
  const from = resolve(call.args[0] as string)
  const to = resolve(flags.to ?? call.settings()['data.dir'])
  const { manifest, faults } = await verify(from, version, shown(call))
  if (faults.length > 0) throw new HubError('data_dir_unusable', `the backup is damaged: ${faults.join('; ')}`)
  const newIdentity = flags['new-id'] === true
  const totals = await restore({ from, manifest, to, newIdentity, progress: shown(call), clock: terminal })
  terminal.progress('')
  const { received, stored, spool, queue, dead, dropped, refused, residual } = totals
  const sheet = { received, stored, spool, queue, dead, dropped, refused, residual }
  if (flags.json) return printJson(terminal.out, { to, at: manifest.at, sequence: manifest.sequence, ...sheet })
  terminal.out(`restored to ${to}: the hub as of ${time(manifest.at)}, up to message ${count(manifest.sequence)}\n\n`)
  for (const [name, value] of Object.entries(sheet)) terminal.out(`${name.padEnd(10)} ${count(value)}\n`)
  for (const { path } of manifest.files.filter(({ path }) => path.startsWith('outside/')))
    terminal.out(
      `\n${path.split('/')[1]} was outside data.dir and is in ${to}/${path}: move it, or name it in the settings`,
    )
  terminal.out(
    newIdentity
      ? '\nThe hub has an identity of its own. Receipts of messages that the original has in RabbitMQ do not reach it.\n'
      : '\nThe hub has the identity of the original: do not start both. For a copy beside the original: --new-id.\n',
  )
  return 0
}
