import { randomBytes } from 'node:crypto'
import { lstatSync, readlinkSync, symlinkSync, unlinkSync } from 'node:fs'
import { hostname } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, HubError, systemCode } from '../errors.js'

/** How long a process waits for the lock before giving up. */
const waitMs = 30_000

/**
 * Age at which a lock is broken. Nothing that holds a lock takes so long: the process is gone, or on another machine.
 */
const staleMs = 120_000

/**
 * Age at which a breaker is removed. Breaking takes two system calls: an older breaker was left by a kill between them.
 */
const breakerStaleMs = 5_000

/**
 * Runs `act` while no other process runs one under the same lock. The lock is `path`: a symbolic link to nothing, whose
 * text names the holder. Creating a link with its text is one step, which a kill cannot halve. The lock of a process
 * that is gone is broken. `act` gets a check that throws `busy` when the lock is no longer ours; call the check right
 * before the change. As `act` is synchronous, a process never holds the lock while asking for the lock: one that names
 * this process is stale.
 */
export async function withFileLock<T>(path: string, act: (check: () => void) => T): Promise<T> {
  const own = JSON.stringify([process.pid, hostname(), randomBytes(6).toString('hex')])
  const until = Date.now() + waitMs
  while (!take(path, own)) {
    if (breakStale(path)) continue
    if (Date.now() > until) {
      const holder = holderOf(read(path))
      throw new HubError(
        'busy',
        `${path}: process ${holder?.pid ?? '(unknown)'} has held this lock for ${waitMs / 1_000} s; try again, or remove the file if that process is not telehub`,
      )
    }
    await sleep(10 + Math.random() * 30)
  }
  try {
    return act(() => {
      if (read(path) !== own) throw new HubError('busy', `${path}: another process removed this lock; try again`)
    })
  } finally {
    if (read(path) === own) unlinkSync(path)
  }
}

/** Returns false when another process holds the lock. */
function take(path: string, text: string): boolean {
  try {
    symlinkSync(text, path)
    return true
  } catch (error) {
    if (systemCode(error) === 'EEXIST') return false
    throw new HubError('data_dir_unusable', `cannot lock ${path}: ${describe(error)}`, { cause: error })
  }
}

function read(path: string): string | undefined {
  try {
    return readlinkSync(path)
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined
    throw new HubError('data_dir_unusable', `cannot read the lock ${path}: ${describe(error)}`, { cause: error })
  }
}

/**
 * Removes the lock of a process that is gone. Returns true when trying again at once is worthwhile. One breaker at a
 * time: of two that had seen the same stale lock, the second would remove the next holder's lock.
 */
function breakStale(path: string): boolean {
  if (!isStale(path)) return false
  const breaker = `${path}.breaker`
  if (!take(breaker, String(process.pid))) {
    if (ageOf(breaker) > breakerStaleMs) remove(breaker)
    return false
  }
  try {
    if (isStale(path)) remove(path)
  } finally {
    remove(breaker)
  }
  return true
}

function isStale(path: string): boolean {
  const text = read(path)
  if (text === undefined) return false
  const holder = holderOf(text)
  if (holder?.host === hostname() && (holder.pid === process.pid || !isAlive(holder.pid))) return true
  return ageOf(path) > staleMs
}

function holderOf(text: string | undefined): { readonly pid: number; readonly host: string } | undefined {
  try {
    const [pid, host] = JSON.parse(text ?? '') as unknown[]
    return Number.isSafeInteger(pid) && typeof host === 'string' ? { pid: pid as number, host } : undefined
  } catch {
    // Not a lock of telehub: only the age shows whether the lock is stale.
    return undefined
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return systemCode(error) === 'EPERM'
  }
}

/** Age of a link in milliseconds; 0 when there is no link. */
function ageOf(path: string): number {
  try {
    return Date.now() - lstatSync(path).mtimeMs
  } catch {
    return 0
  }
}

function remove(path: string): void {
  try {
    unlinkSync(path)
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error
  }
}
