/** The texts of the pairing page in English, and so the keys of all languages. */
export const en = {
  title: 'Pair a device',
  text: 'With this code the hub makes user and password for a device, once. Show them only where you want to enter them.',
  code: 'Code',
  go: 'Get user and password',
  busy: 'Asking the hub …',
  'no-code': 'Enter the code that the hub shows under Settings, Pair a device.',
  silent: 'The hub does not answer. Is it running, and can this device reach it?',
  wrong:
    'This code is wrong, already used, or older than ten minutes. The person who gave it to you can make a new one.',
  failed: 'That did not work: {why}',
  done: 'Enter this in the device. It is shown only now.',
  host: 'Address',
  port: 'Port',
  tls: 'TLS',
  yes: 'yes',
  no: 'no',
  user: 'User',
  password: 'Password',
  clients: 'Client id',
  publish: 'May publish to',
  read: 'May receive',
  copy: 'Copy',
  copied: 'Copied',
  'copy-label': 'Copy: {what}',
  all: 'Copy all as JSON',
  plain: 'This connection is not encrypted: anyone on the network can read the password.',
} as const

export type Texts = Readonly<Record<keyof typeof en, string>>
