import { basename } from 'node:path'
import { parentPort, workerData } from 'node:worker_threads'
import { describe, HubError } from '../errors.js'
import { parseUsers, readUsersText } from './users.js'
import { editUsers } from './users-file.js'
import type { UsersTask } from './users-task.js'

/** Entry of a thread that reads or edits the users file and ends: with ten thousand users this takes a second. */
if (parentPort) {
  const port = parentPort
  const task = workerData as UsersTask
  const work = async () => {
    if (task.kind === 'read') return parseUsers(readUsersText(task.file), basename(task.file))
    const { file, code, now } = task
    const { user, password } = await editUsers(file, users => users.redeemPairing(code, now))
    return { user: user.name, password }
  }
  work().then(
    result => port.postMessage({ result }),
    (error: unknown) => port.postMessage({ fault: describe(error), code: error instanceof HubError ? error.code : '' }),
  )
}
