import { execFile } from 'node:child_process'
import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import type { SettingKey } from '../config/settings.js'
import { describe, systemCode } from '../errors.js'
import { type Check, type Examined, type Finding, fine, problem, warning } from './finding.js'

/** Checks what the hub needs of the machine: Node, open files, the clock, ports. */
export const machine: Check = async examined => [
  node(process.versions.node),
  openFiles(examined),
  ...waitingConnections(examined.settings['limits.connections'], somaxconn()),
  await clock(examined),
  ...(await ports(examined)),
]

export function node(version: string): Finding {
  const check = 'Node.js'
  const major = Number.parseInt(version, 10)
  if (major < 22) {
    return warning(
      check,
      `version ${version}, which gets no more security fixes from its makers`,
      'Install Node.js 22 or 24.',
    )
  }
  if (major === 22 || major === 24) return fine(check, `version ${version}`)
  return warning(check, `version ${version}, on which telehub is not tested`, 'Use Node.js 22 or 24.')
}

/** Open files of the hub beside MQTT connections: segments, journals, the store, HTTP connections, RabbitMQ. */
const ownFiles = 500

function openFiles({ settings, hub }: Examined): Finding {
  const check = 'open files'
  const connections = settings['limits.connections']
  const needed = connections + ownFiles
  // Node raises the soft limit to the hard one at the start.
  const hard = hardLimit(hub?.pid ? String(hub.pid) : 'self')
  if (hard === undefined) return fine(check, 'this system does not say how many a program may have')
  if (hard >= needed) return fine(check, `${hard} allowed, ${needed} needed (limits.connections ${connections})`)
  return problem(
    check,
    `${hard} allowed, and limits.connections ${connections} needs ${needed}: connections are refused before that limit`,
    `Allow more (ulimit -Hn ${needed}; systemd: LimitNOFILE=${needed}), or set limits.connections to ${Math.max(1, hard - ownFiles)}.`,
  )
}

/** Returns the hard limit of open files. Undefined when the limit is not known. */
function hardLimit(pid: string): number | undefined {
  try {
    const found = /^Max open files\s+\S+\s+(\S+)/m.exec(readFileSync(`/proc/${pid}/limits`, 'utf8'))?.[1]
    return found === 'unlimited' ? Number.POSITIVE_INFINITY : found === undefined ? undefined : Number(found)
  } catch {
    return undefined
  }
}

/**
 * Checks how many connections the system lets wait for the hub to accept them (`listen(2)`, net.core.somaxconn).
 * `allowed` is undefined where the system does not say.
 */
export function waitingConnections(connections: number, allowed: number | undefined): Finding[] {
  if (allowed === undefined) return []
  const check = 'waiting connections'
  const seen = `${allowed} may wait to be accepted, and limits.connections is ${connections}`
  if (allowed >= connections) return [fine(check, seen)]
  return [
    warning(
      check,
      `${seen}: when more clients come back at the same moment, the system drops or resets some, and they have to try again`,
      `Allow more (sysctl -w net.core.somaxconn=${connections}).`,
    ),
  ]
}

function somaxconn(): number | undefined {
  try {
    return Number(readFileSync('/proc/sys/net/core/somaxconn', 'utf8'))
  } catch {
    return undefined
  }
}

/** Release time of this version. A clock that shows an earlier time is wrong. */
const madeAt = Date.UTC(2026, 10, 29)

/** The longest credible time since the newest file was written: a clock further ahead is probably wrong. */
const maxPauseMs = 5 * 365 * 864e5

async function clock({ dir, hasDir, clock: machineClock }: Examined): Promise<Finding> {
  const found = judgeClock(machineClock.now(), hasDir ? newestFile(dir) : undefined)
  if (found.level !== 'fine' || (await isSynchronized()) !== false) return found
  return warning(
    found.check,
    `${found.seen}, and systemd says that no NTP server keeps it`,
    'Let it be kept by NTP (timedatectl set-ntp true): the times of readings are those of this clock.',
  )
}

/** Whether NTP keeps the clock, according to systemd. Undefined where there is no systemd, as in a container. */
function isSynchronized(): Promise<boolean | undefined> {
  return new Promise(resolve => {
    execFile('timedatectl', ['show', '--property', 'NTPSynchronized', '--value'], { timeout: 3_000 }, (error, stdout) =>
      resolve(error ? undefined : stdout.trim() === 'yes'),
    )
  })
}

/** Judges the time of a clock by the time at which the newest file of the data directory was written. */
export function judgeClock(now: number, newest: number | undefined): Finding {
  const check = 'clock'
  const time = new Date(now).toISOString()
  const advice =
    'Set the clock, and let it be kept by NTP (timedatectl set-ntp true); a machine without a battery needs the network before the hub starts.'
  if (now < madeAt - 864e5) {
    return problem(check, `it is ${time}, which is before this version of telehub was made`, advice)
  }
  if (newest !== undefined && newest > now + 60_000) {
    return problem(
      check,
      `it is ${time}, and a file in data.dir was written at ${new Date(newest).toISOString()}: the clock is wrong now, or was wrong then`,
      advice,
    )
  }
  if (newest !== undefined && newest + maxPauseMs < now) {
    return warning(check, `it is ${time}, five years after the newest file in data.dir was written`, advice)
  }
  return fine(check, `it is ${time}`)
}

/** Time of the newest file in the data directory, in milliseconds since the epoch. Undefined when there is no file. */
function newestFile(dir: string): number | undefined {
  let newest: number | undefined
  for (const folder of ['', 'spool', 'sessions', 'balance']) {
    let names: string[] = []
    try {
      names = readdirSync(join(dir, folder))
    } catch {
      // Missing as yet, or closed to this user, which another check reports.
    }
    for (const name of names) {
      const found = statSync(join(dir, folder, name), { throwIfNoEntry: false })
      if (found?.isFile()) newest = Math.max(newest ?? 0, found.mtimeMs)
    }
  }
  return newest
}

async function ports({ settings, hub }: Examined): Promise<Finding[]> {
  const found: Finding[] = []
  for (const setting of ['mqtt.port', 'mqtts.port', 'http.port'] as const) {
    const port = settings[setting]
    if (port !== 'off' && port !== 0) found.push(await portFinding(setting, settings.host, port, hub?.pid))
  }
  return found
}

async function portFinding(setting: SettingKey, host: string, port: number, hub: number | undefined): Promise<Finding> {
  const place = `${host.includes(':') ? `[${host}]` : host}:${port}`
  const error = await listenError(host, port)
  if (error === undefined) {
    if (hub === undefined) return fine(setting, `${place} is free`)
    return problem(
      setting,
      `a hub runs on this data directory, and nothing listens on ${place}`,
      'It may still be starting. Otherwise run telehub doctor with the settings of that hub: the same file, environment and flags.',
    )
  }
  switch (systemCode(error)) {
    case 'EADDRINUSE': {
      const holder = holderOf(port)
      if (hub !== undefined && (holder === undefined || holder.pid === hub || hub === 0)) {
        return fine(setting, `the hub listens on ${place}`)
      }
      const by = holder ? `process ${holder.pid} (${holder.command})` : 'a program of another user'
      return problem(
        setting,
        `${place} is taken by ${by}`,
        `Stop that program, or choose another port with --${setting}; 0 takes a free one.`,
      )
    }
    case 'EACCES':
      return problem(
        setting,
        `${place} may not be opened by this user`,
        'Choose a port above 1023, or give the right: setcap cap_net_bind_service=+ep on the node program, systemd AmbientCapabilities=CAP_NET_BIND_SERVICE.',
      )
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
      return problem(
        setting,
        `${host} is not an address of this machine`,
        'Set host to one of its addresses, 127.0.0.1, or 0.0.0.0 for all.',
      )
    default:
      return problem(setting, `${place} cannot be opened: ${describe(error)}`, 'Choose another host or port.')
  }
}

/** Resolves with the reason why no server can listen there. Undefined when a server can. */
function listenError(host: string, port: number): Promise<Error | undefined> {
  return new Promise(resolve => {
    const server = createServer()
    server.once('error', resolve)
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(undefined)))
  })
}

/** Finds the process that listens on a TCP port of this machine. Undefined when unknown or of another user. */
export function holderOf(port: number): { readonly pid: number; readonly command: string } | undefined {
  const inodes = new Set<string>()
  for (const table of ['tcp', 'tcp6']) {
    for (const line of read(`/proc/net/${table}`).split('\n').slice(1)) {
      const [, local = '', , state, , , , , , inode] = line.trim().split(/\s+/)
      // 0A: the socket listens.
      if (state === '0A' && Number.parseInt(local.split(':')[1] ?? '', 16) === port && inode) inodes.add(inode)
    }
  }
  if (inodes.size === 0) return undefined
  for (const pid of list('/proc').filter(name => /^\d+$/.test(name))) {
    for (const fd of list(`/proc/${pid}/fd`)) {
      const inode = /^socket:\[(\d+)\]$/.exec(link(`/proc/${pid}/fd/${fd}`))?.[1]
      if (inode && inodes.has(inode)) {
        return { pid: Number(pid), command: read(`/proc/${pid}/cmdline`).replaceAll('\0', ' ').trim().slice(0, 100) }
      }
    }
  }
  return undefined
}

/** Returns the text of a file; empty when the file cannot be read. */
function read(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

function list(path: string): string[] {
  try {
    return readdirSync(path)
  } catch {
    return []
  }
}

function link(path: string): string {
  try {
    return readlinkSync(path)
  } catch {
    return ''
  }
}
