import type { Settings } from '../config/settings.js'
import { HubError, systemCode } from '../errors.js'
import { auditDir, parseAuditLine, verifyAudit } from '../observe/audit-chain.js'
import { searchAudit } from '../observe/audit-search.js'
import { escaped, plain } from '../observe/log.js'
import { count, many, table } from '../runtime/terminal.js'
import { type Command, command, type Flags, type FlagValues, usage } from './command.js'

/* `telehub audit`: reads the audit log in data.dir, whether the hub runs or not. */

const tailFlags = {
  limit: { value: 'N', help: 'so many lines; default 20' },
  json: { help: 'print the lines as they are in the file' },
} as const satisfies Flags

const verifyFlags = {
  hash: { value: 'HASH', help: 'also check that the line with this hash, noted earlier, is still there' },
  json: { help: 'print the findings as JSON' },
} as const satisfies Flags

export const auditCommands: readonly Command[] = [
  command({
    name: 'audit',
    alias: 'audit tail',
    summary: 'show the latest lines of the audit log in data.dir: logins, refusals, changes',
    flags: tailFlags,
    examples: ['telehub audit --limit 100'],
    run: ({ flags, settings, terminal }) => read(settings(), dir => tail(dir, flags, terminal.out)),
  }),
  command({
    name: 'audit verify',
    summary: 'check that no line of the audit log was changed, added or removed',
    about: 'Prints the hash of the last line. Note it elsewhere, and check it later with --hash.',
    flags: verifyFlags,
    examples: ['telehub audit verify', 'telehub audit verify --hash 2c26b46b68ff'],
    run: ({ flags, settings, terminal }) => read(settings(), dir => verify(dir, flags, terminal.out)),
  }),
]

/** Reads the audit log of a data directory. Resolves with the exit code: 1 when the chain is broken. */
async function read(settings: Settings, how: (dir: string) => Promise<number>): Promise<number> {
  const dir = auditDir(settings['data.dir'])
  try {
    return await how(dir)
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error
    throw new HubError('not_found', `there is no audit log in ${dir}; choose the data of another hub with --data.dir`)
  }
}

async function tail(
  dir: string,
  { limit = '20', json }: FlagValues<typeof tailFlags>,
  out: (text: string) => void,
): Promise<number> {
  if (!/^[1-9]\d{0,6}$/.test(limit))
    throw usage(`--limit: given ${JSON.stringify(limit)}, allowed is a number of lines`)
  const { lines } = await searchAudit(dir, { limit: Number(limit) })
  const shown = lines.map(({ text }) => text).reverse()
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

async function verify(
  dir: string,
  { hash, json }: FlagValues<typeof verifyFlags>,
  out: (text: string) => void,
): Promise<number> {
  const found = await verifyAudit(dir, hash)
  const isWhole = found.faults.length === 0 && found.hasHash !== false
  if (json) out(`${escaped(JSON.stringify(found, undefined, 2))}\n`)
  else {
    for (const fault of found.faults) out(`${plain(fault)}\n`)
    if (found.hasHash === false)
      out(`no line has the hash ${plain(String(hash))}: the line was changed, or deleted with an old file\n`)
    const size = `${many(found.last === 0 ? 0 : found.last - found.first + 1, 'line')} in ${many(found.files, 'file')}`
    if (isWhole) out(`the chain is whole: ${size}, numbers ${found.first} to ${found.last}\n`)
    else out(`the chain is broken: ${size}\n`)
    out(`hash of the last line: ${found.hash || '(none)'}\n`)
  }
  return isWhole ? 0 : 1
}
