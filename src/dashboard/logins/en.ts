/** The texts of the page of logins in English, and so the keys of all languages. */
export const en = {
  'logins.title': 'Where you are signed in',
  'logins.back': 'All values',
  'logins.hint':
    'Browsers in which {user} is signed in. If you do not recognize one, end its login and change your password.',
  'logins.own': 'Your logins',
  'logins.end-others': 'End all others',
  'logins.foreign': 'Logins of other users',
  'logins.cut': 'Showing the {count} used last. For all: telehub login list',
  'logins.failed': 'Could not read the logins: {why}',
  'logins.ended.one': '{count} login ended.',
  'logins.ended.other': '{count} logins ended.',
  'logins.already': 'That login had already ended.',
  'logins.not-ended': 'Not ended: {why}',
  'logins.still': 'You are still signed in: {why}',
  'logins.no-answer': 'The hub does not answer.',
  'login.sign-out': 'Sign out',
  'login.end': 'End',
  'login.end-own': 'End the login: {browser} from {address}',
  'login.end-of': 'End the login of {user}: {browser} from {address}',
  'login.current': 'This browser',
  'login.began': 'Since {time}, from {address}',
  'login.began-unknown': 'Since {time}, from an unknown address',
  'login.used': 'Last used {age}',
  'browser.unknown': 'Unknown browser',
  'browser.on': '{browser} on {system}',
} as const

export type Texts = Readonly<Record<keyof typeof en, string>>
