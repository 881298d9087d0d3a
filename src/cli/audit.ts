import { HubError, systemCode } from '../errors.js'
import { auditDir, auditFiles, auditLines, parseAuditLine, verifyAudit } from '../observe/audit-chain.js'
import { escaped, plain } from '../observe/log.js'
import { count, many, table } from '../runtime/terminal.js'

/* `telehub audit`: reads the audit log in data.dir, whether the hub runs or not. */

export const auditHelp = `  telehub audit            the latest lines of the audit log in data.dir: who came in, was refused, changed something [--limit N]
  telehub audit verify     check that no line was changed, put in or taken out; prints the hash of the last line, and with
                           --hash HASH whether a line that was kept elsewhere by its hash is still there`

export interface AuditFlags {
  readonly json?: boolean
  readonly limit?: string
  readonly hash?: string
}

/** Runs the command. Resolves with the exit code: 1 when the chain is broken. */
export async function audit(
  words: readonly string[],
  flags: AuditFlags,
  dataDir: string,
  out: (text: string) => void,
): Promise<number> {
  const [, action = 'tail', ...more] = words
  if (!['tail', 'verify'].includes(action) || more.length > 0) {
    throw usage(`given telehub ${words.join(' ')}, allowed are telehub audit tail and telehub audit verify`)
  }
  for (const flag of Object.keys(flags)) {
    const isKnown = flag === 'json' || flag === (action === 'tail' ? 'limit' : 'hash')
    if (!isKnown) throw usage(`telehub audit ${action} takes no --${flag}`)
  }
  const dir = auditDir(dataDir)
  try {
    return action === 'verify' ? await verify(dir, flags, out) : await tail(dir, flags, out)
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error
    throw new HubError('not_found', `there is no audit log in ${dir}; --data.dir names the data of another hub`)
  }
}

async function tail(dir: string, { limit = '20', json }: AuditFlags, out: (text: string) => void): Promise<number> {
  if (!/^[1-9]\d{0,6}$/.test(limit))
    throw usage(`--limit: given ${JSON.stringify(limit)}, allowed is a number of lines`)
  const most = Number(limit)
  const last: string[] = []
  // As many of the newest files as are needed for that number of lines.
  for (const { path } of auditFiles(dir).toReversed()) {
    const lines: string[] = []
    for await (const { text } of auditLines(path)) {
      lines.push(text)
      if (lines.length > most) lines.shift()
    }
    last.unshift(...lines)
    if (last.length >= most) break
  }
  const shown = last.slice(-most)
  if (json) {
    for (const line of shown) out(`${escaped(line.replaceAll('\n', ' '))}\n`)
    return 0
  }
  const rows = shown.map(text => {
    const line = parseAuditLine(text)
    if (!line) return ['', '', plain(text)]
    const { n, at, event, result, reason, user, address, via, client, what, detail, count: times, since } = line
    const cells = [
      [event, result, reason && `(${reason})`].filter(Boolean).join(' '),
      user ?? '',
      [address, via && `(${via})`].filter(Boolean).join(' '),
      [what, client && `client ${client}`, detail, times && `${count(times)} times since ${since}`]
        .filter(Boolean)
        .join('; '),
    ]
    return [String(n), at.replace(/\.\d+Z$/, 'Z').replace('T', ' '), ...cells.map(cell => plain(String(cell)))]
  })
  out(table(['line', 'when', 'event', 'user', 'from', 'what'], rows))
  return 0
}

async function verify(dir: string, { hash, json }: AuditFlags, out: (text: string) => void): Promise<number> {
  const found = await verifyAudit(dir, hash)
  const isWhole = found.faults.length === 0 && found.hasHash !== false
  if (json) out(`${escaped(JSON.stringify(found, undefined, 2))}\n`)
  else {
    for (const fault of found.faults) out(`${plain(fault)}\n`)
    if (found.hasHash === false)
      out(`no line has the hash ${plain(String(hash))}: that line was changed, or is gone with an old file\n`)
    const size = `${many(found.last === 0 ? 0 : found.last - found.first + 1, 'line')} in ${many(found.files, 'file')}`
    if (isWhole) out(`the chain is whole: ${size}, numbers ${found.first} to ${found.last}\n`)
    else out(`the chain is broken: ${size}\n`)
    out(`hash of the last line: ${found.hash || '(none)'}\n`)
  }
  return isWhole ? 0 : 1
}

function usage(sentence: string): HubError {
  return new HubError('bad_settings', `${sentence}; telehub --help shows the use`)
}
