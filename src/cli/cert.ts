import { type Command, command, type Flags } from './command.js'

const certificateFlags = {
  dir: { value: 'FOLDER', help: 'where the files are; default: certs' },
  name: { value: 'HOST', isRepeated: true, help: 'another name or address of this machine' },
  client: { value: 'USER', isRepeated: true, help: 'makes a certificate for this user instead' },
  days: { value: 'N', help: 'how long the certificates are valid; default and most: 825' },
} as const satisfies Flags

export const certificateCommand: Command = command({
  name: 'cert',
  summary: 'make a local certificate authority and a certificate for this machine, or renew it',
  about: 'Prints what to write into telehub.yaml, and how devices connect.',
  flags: certificateFlags,
  examples: ['telehub cert', 'telehub cert --client thermo --client lamp'],
  settings: 'none',
  run: async ({ flags, terminal }) => {
    // Loaded when needed: the package that writes certificates is larger than all other commands together.
    const { certify } = await import('./certificates.js')
    await certify(flags, terminal)
    return 0
  },
})
