import { basename } from 'node:path'
import { parentPort, workerData } from 'node:worker_threads'
import { describe, HubError } from '../errors.js'
import { hashSecret, makeSecret } from '../passwords/passwords.js'
import { makeScram } from '../passwords/scram.js'
import { parseUsers, readUsersText } from './users.js'
import { applyEdit, editUsers, type UserEdit } from './users-file.js'
import type { EditTask, UsersEdited, UsersTask } from './users-task.js'

/** Entry of a thread that reads or edits the users file and ends: with ten thousand users this takes a second. */
if (parentPort) {
  const port = parentPort
  const task = workerData as UsersTask
  const work = async () => {
    if (task.kind === 'read') return parseUsers(readUsersText(task.file), basename(task.file))
    if (task.kind === 'edit') return editFile(task)
    const { file, code, now } = task
    const { user, password } = await editUsers(file, users => users.redeemPairing(code, now))
    return { user: user.name, password }
  }
  work().then(
    result => port.postMessage({ result }),
    (error: unknown) => {
      const { code, said } = error instanceof HubError ? error : { code: '', said: undefined }
      port.postMessage({ fault: describe(error), code, said })
    },
  )
}

async function editFile({ file, edit, version, makes }: EditTask): Promise<UsersEdited> {
  const password = makes === 'none' ? undefined : makeSecret()
  const complete = password === undefined ? edit : withPassword(edit, password, makes === 'scram')
  return { isNew: await editUsers(file, users => applyEdit(users, complete), version), password }
}

function withPassword(edit: UserEdit, password: string, hasScram: boolean): UserEdit {
  const hash = hashSecret(password)
  const scram = hasScram ? makeScram(password) : ''
  if (edit.do === 'add') return { ...edit, user: { ...edit.user, password: hash, scram } }
  return edit.do === 'password' ? { ...edit, hash, scram } : edit
}
