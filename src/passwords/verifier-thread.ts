import { parentPort } from 'node:worker_threads'
import { yieldToBroker } from '../runtime/priority.js'
import { verifyPassword } from './passwords.js'

/** Entry of the thread that verifies passwords: each takes tens of milliseconds and tens of megabytes. */
if (parentPort) {
  const port = parentPort
  // Clients that guess passwords keep this thread busy.
  yieldToBroker(19)
  port.on('message', ({ hash, password }: { hash: string; password: string }) => {
    port.postMessage(verifyPassword(hash, password))
  })
}
