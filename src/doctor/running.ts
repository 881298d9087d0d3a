import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { connect } from 'node:net'
import { join, relative } from 'node:path'
import type { Readiness } from '../contract/contract.js'
import { describe } from '../errors.js'
import { plain } from '../observe/log.js'
import { type Check, type Examined, type Finding, fine, problem, type RunningHub, warning } from './finding.js'

/** Finds the hub that uses a data directory. Undefined when no hub does. */
export async function findHub(dir: string): Promise<RunningHub | undefined> {
  const pid = Number(read(join(dir, 'pid')))
  if (pid > 0 && hasOpen(pid, dir)) return { pid }
  // The process of another user or container cannot be inspected; the socket of the hub's lock (disk/lock.ts) answers
  // all the same.
  const locks = list(dir).filter(name => /^lock\.\d{10}$/.test(name))
  const alive = await Promise.all(locks.map(name => answers(join(dir, name))))
  return alive.includes(true) ? { pid: 0 } : undefined
}

/** Whether a process has a file of this folder open. */
function hasOpen(pid: number, dir: string): boolean {
  try {
    return readdirSync(`/proc/${pid}/fd`).some(fd => link(`/proc/${pid}/fd/${fd}`).startsWith(`${dir}/`))
  } catch {
    // The process has ended, or belongs to another user.
    return false
  }
}

/** Lists a folder. Empty when the folder cannot be read, which another check reports. */
function list(dir: string): string[] {
  try {
    return readdirSync(dir)
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

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

function answers(socketPath: string): Promise<boolean> {
  const short = relative(process.cwd(), socketPath)
  return new Promise(resolve => {
    const socket = connect(short.length < socketPath.length ? short : socketPath)
    socket.once('connect', () => socket.destroy(resolve(true) as undefined))
    socket.once('error', () => resolve(false))
  })
}

/** Reports the state of a running hub, as that hub shows it. */
export const running: Check = async ({ hub, url, key }: Examined): Promise<readonly Finding[]> => {
  const check = 'hub'
  if (!hub) return [fine(check, 'none runs on this data directory')]
  const name = hub.pid > 0 ? `process ${hub.pid}` : 'a hub of another user or container'
  let ready: Readiness
  try {
    const response = await fetch(`${url}/readyz`, {
      headers: key ? { authorization: `Bearer ${key}` } : {},
      redirect: 'manual',
      signal: AbortSignal.timeout(10_000),
    })
    ready = (await response.json()) as Readiness
  } catch (error) {
    const why = describe((error as { cause?: unknown }).cause ?? error)
    return [
      warning(
        check,
        `${name} runs, and does not answer at ${url} (${plain(why)})`,
        'It may still be starting. Otherwise name its address with --url; for a certificate of your own authority set NODE_EXTRA_CA_CERTS.',
      ),
    ]
  }
  const found: Finding[] = []
  for (const { detail } of ready.alarms ?? []) {
    found.push(warning('alarm', plain(detail), 'The alarm is over when its cause is.'))
  }
  for (const { kind, count, detail } of ready.incidents ?? []) {
    const times = count > 1 ? `, ${count} times since the hub started` : ''
    found.push(warning('incident', `${kind}${times}: ${plain(detail)}`, 'It stays listed until the hub is restarted.'))
  }
  for (const { consumer, target, detail } of ready.waiting ?? []) {
    found.push(
      warning(
        'hub',
        `${consumer} waits for ${target}${detail ? ` (${plain(detail)})` : ''}`,
        'The spool keeps arriving messages meanwhile.',
      ),
    )
  }
  if (!ready.ready) {
    found.push(
      problem(
        check,
        `${name} refuses publishes`,
        'The checks of the disk and the spool say why; its log does as well.',
      ),
    )
  } else if (found.length === 0) found.push(fine(check, `${name} answers at ${url}, without alarms or incidents`))
  return found
}
