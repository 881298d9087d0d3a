import type { AddressInfo } from 'node:net'
import { SMTPServer } from 'smtp-server'

/** A mail as the server took it. */
export interface ReceivedMail {
  readonly from: string
  readonly to: readonly string[]
  /** The whole message, with its headers. */
  readonly raw: string
  readonly user: string
}

export interface MailServer {
  readonly port: number
  readonly mails: readonly ReceivedMail[]
  stop(): Promise<void>
}

export interface MailServerOptions {
  /** Refuses all other logins; without, nobody logs in. */
  readonly login?: { readonly user: string; readonly password: string }
  /** Receivers that are refused. */
  readonly refuses?: (address: string) => boolean
}

/** A mail server that speaks SMTP on a free port of this machine, and keeps what it takes. */
export async function startMailServer({ login, refuses }: MailServerOptions = {}): Promise<MailServer> {
  const mails: ReceivedMail[] = []
  const server = new SMTPServer({
    authOptional: login === undefined,
    disabledCommands: login ? ['STARTTLS'] : ['STARTTLS', 'AUTH'],
    allowInsecureAuth: true,
    onAuth: ({ username = '', password }, _session, done) =>
      username === login?.user && password === login.password
        ? done(null, { user: username })
        : done(new Error(`wrong password ${password} of ${username}`)),
    onRcptTo: ({ address }, _session, done) => done(refuses?.(address) ? new Error('no such mailbox') : null),
    onData: (stream, { envelope, user }, done) => {
      const parts: Buffer[] = []
      stream.on('data', (part: Buffer) => parts.push(part))
      stream.on('end', () => {
        const { mailFrom, rcptTo } = envelope
        const from = mailFrom ? mailFrom.address : ''
        const to = rcptTo.map(({ address }) => address)
        mails.push({ from, to, raw: Buffer.concat(parts).toString(), user: String(user ?? '') })
        done()
      })
    },
  })
  server.on('error', () => {})
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.server.address() as AddressInfo).port,
    mails,
    stop: () => new Promise(resolve => server.close(() => resolve())),
  }
}
