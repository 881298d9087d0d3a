/**
 * Returns the name of a session. Two users may have clients with the same id, and each client has a session of its own.
 * Without authentication the name is the client id. U+0000 is in no client id [MQTT-1.5.3-2] and in no user name.
 */
export function sessionName(user: string, clientId: string): string {
  return user === '' ? clientId : `${user}\0${clientId}`
}

/** The inverse of {@link sessionName}. */
export function ownerOf(name: string): { readonly user: string; readonly clientId: string } {
  const at = name.indexOf('\0')
  return at < 0 ? { user: '', clientId: name } : { user: name.slice(0, at), clientId: name.slice(at + 1) }
}

/** Returns the name of the session whose client leaves a will. */
export function nameOf({
  user = '',
  clientId,
}: {
  readonly user?: string | undefined
  readonly clientId: string
}): string {
  return sessionName(user, clientId)
}
