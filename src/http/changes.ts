import { callerName, type Guard } from './guard.js'
import type { RouteCall } from './route.js'

/** Returns what the audit log says of every change over HTTP: by whom, and from where. */
export function changeBy({ request, caller }: RouteCall, guard: Guard) {
  return { event: 'change', user: callerName(caller), address: guard.address(request.raw), via: 'http' } as const
}

/** Returns the words for the user of a client, as in "there is no client lamp of user anna". */
export function ofUser(user: string): string {
  return user === '' ? 'without a user' : `of user ${JSON.stringify(user)}`
}
