/** The texts of the login page in English, and so the keys of all languages. */
export const en = {
  title: 'Sign in',
  host: 'to the hub at {host}',
  user: 'User name',
  password: 'Password',
  show: 'Show the password',
  hide: 'Hide the password',
  busy: 'Signing in',
  'no-user': 'Your user name is missing.',
  'no-password': 'Your password is missing.',
  silent: 'The hub does not answer. Is it running, and can this computer reach it?',
  offline: 'You are offline.',
  'may-not': 'This user may not sign in here: dashboards and admins may.',
  wrong: 'Wrong user name or password.',
  crowded: 'The hub is busy with other logins. Try again in a moment.',
  failed: 'Sign-in failed: {why}',
  status: 'the hub answered with status {status}',
  wait: 'Too many attempts. Try again at {time}.',
  caps: 'Caps Lock is on.',
  plain: 'This connection is not encrypted: anyone on the network can read your password.',
  help: 'No account, or password forgotten? On the hub’s machine:',
  or: 'or',
} as const

export type Texts = Readonly<Record<keyof typeof en, string>>
