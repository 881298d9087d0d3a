import { readFileSync } from 'node:fs'
import { quote } from '../access/rules.js'
import { describe, HubError } from '../errors.js'
import { plain } from '../observe/log.js'
import { hashPassword, hashSecret, makeSecret } from '../passwords/passwords.js'
import { makeScram, preparePassword, scramMethod } from '../passwords/scram.js'
import { askHidden, count, firstLine, many } from '../runtime/terminal.js'
import { type Terminal, usage } from './command.js'

/** Characters that a password chosen by a person may have. */
export const minPassword = 8
export const maxPassword = 1_000

export interface NewPassword {
  readonly hash: string
  /** SCRAM verifier; empty without `--scram`. */
  readonly scram: string
  /** The generated password. Undefined when the operator gave one. */
  readonly made: string | undefined
}

/** Returns the password that the flags name, or that the operator types. */
export async function newPassword(
  name: string,
  flags: { readonly 'password-file'?: string; readonly generate?: true; readonly scram?: true },
  { asks }: Pick<Terminal, 'asks'>,
): Promise<NewPassword> {
  const file = flags['password-file']
  if (flags.generate) {
    if (file !== undefined) throw usage('--generate and --password-file: given both, allowed is one')
    const made = makeSecret()
    return { hash: hashSecret(made), scram: flags.scram ? makeScram(made) : '', made }
  }
  const given = file !== undefined ? firstLineOf(file) : asks ? await askTwice(name) : await firstLine()
  if (given === '') {
    throw usage(`no password given for ${name}: type it, pipe it in, or use --password-file or --generate`)
  }
  const length = [...given].length
  if (length < minPassword || length > maxPassword) {
    throw new HubError(
      'bad_settings',
      `the password: given ${many(length, 'character')}, allowed are ${minPassword} to ${count(maxPassword)}`,
    )
  }
  const prepared = flags.scram ? await preparePassword(given) : ''
  if (prepared === undefined) {
    throw new HubError(
      'bad_settings',
      `the password: has a character that ${scramMethod} cannot use (RFC 4013), such as an emoji; take another, or leave out --scram`,
    )
  }
  return { hash: await hashPassword(given), scram: prepared && makeScram(prepared), made: undefined }
}

async function askTwice(name: string): Promise<string> {
  const first = await askHidden(`Password of ${name}: `)
  if (first !== (await askHidden('Once more: '))) {
    throw new HubError('bad_settings', 'the two passwords differ; nothing was changed')
  }
  return first
}

function firstLineOf(path: string): string {
  try {
    return readFileSync(path, 'utf8').split(/\r?\n/)[0] ?? ''
  } catch (error) {
    throw new HubError('bad_settings', `--password-file: cannot read ${quote(path)}: ${plain(describe(error))}`)
  }
}
