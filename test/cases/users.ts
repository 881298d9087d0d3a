import { join } from 'node:path'
import { hashSecret } from '../../src/auth/passwords.js'
import { editUsers, type NewUser, type UsersFile } from '../../src/auth/users-file.js'
import { tempDir } from '../services/service.js'

/** A users file for a test. Passwords of its users are quick to verify, unless given as a hash. */
export interface UsersOfTest {
  readonly file: string
  /** As settings of the hub. */
  readonly settings: Readonly<Record<string, string>>
  edit<T>(change: (file: UsersFile) => T): Promise<T>
  add(name: string, rules: readonly string[], more?: Partial<Omit<NewUser, 'name' | 'rules'>>): Promise<void>
}

/** The password of a user that `add` made. */
export const passwordOf = (name: string) => `the secret of ${name}`

export async function usersFile(): Promise<UsersOfTest> {
  const file = join(await tempDir(), 'users.yaml')
  const edit: UsersOfTest['edit'] = change => editUsers(file, change)
  return {
    file,
    settings: { 'auth.file': file },
    edit,
    add: (name, rules, more = {}) =>
      edit(users =>
        users.addUser({
          name,
          kind: 'device',
          password: hashSecret(passwordOf(name)),
          clients: [],
          certificates: [],
          rules,
          ...more,
        }),
      ),
  }
}
