import { Worker } from 'node:worker_threads'
import { type ErrorCode, HubError } from '../errors.js'
import type { Said } from '../model.js'
import type { UserEdit } from './user-edits.js'

/** An edit of the users file. */
export interface EditTask {
  readonly kind: 'edit'
  readonly file: string
  readonly edit: UserEdit
  /** Version that the file must have. Undefined: any. */
  readonly version: string | undefined
  /** Whether the thread makes a password for `add` and `password`, and one that works for SCRAM. */
  readonly makes: 'none' | 'password' | 'scram'
}

/** Outcome of an edit. */
export interface UsersEdited {
  readonly isNew: boolean
  /** The password that was made. */
  readonly password: string | undefined
}

/** Task of the thread: to read the users of a file, to edit them, or to redeem a pairing code. */
export type UsersTask =
  | EditTask
  | { readonly kind: 'read'; readonly file: string }
  | { readonly kind: 'redeem'; readonly file: string; readonly code: string; readonly now: number }

/** Runs a task in a thread. Rejects with the `HubError` of the thread. */
export function inUsersThread<T>(task: UsersTask): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const worker = new Worker(new URL('./users-thread.js', import.meta.url), { workerData: task })
    worker.once(
      'message',
      ({ result, fault, code, said }: { result: T; fault?: string; code?: ErrorCode; said?: Said }) => {
        if (fault === undefined) resolve(result)
        else reject(code ? new HubError(code, fault, { said }) : new Error(fault))
      },
    )
    worker.once('error', reject)
    worker.once('exit', () => reject(new Error('the thread ended without an answer')))
  })
}
