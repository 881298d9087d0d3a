import { plain } from '../observe/log.js'
import { type AlertMessage, severityOf, stateOf, textOf, titleOf } from './message.js'
import type { EmailTargetPlan } from './plan.js'
import { attemptMs, type NotifyTarget, Undeliverable } from './target.js'
import { linkOf } from './template.js'

export interface EmailOptions {
  readonly plan: EmailTargetPlan
  readonly zone: string
  /** Address of the dashboard; empty when unknown. */
  readonly url: string
}

/** Sends a plain text mail for each message, by SMTP. */
export class EmailTarget implements NotifyTarget {
  readonly #options: EmailOptions

  constructor(options: EmailOptions) {
    this.#options = options
  }

  async send(message: AlertMessage, _address: string, signal: AbortSignal): Promise<void> {
    const { plan, zone, url } = this.#options
    const { createTransport } = await import('nodemailer')
    const { host, port, security, user, password, from, to } = plan
    const transport = createTransport({
      host,
      port,
      secure: security === 'tls',
      requireTLS: security === 'starttls',
      ignoreTLS: security === 'none',
      ...(user && { auth: { user, pass: password } }),
      connectionTimeout: attemptMs / 2,
      greetingTimeout: attemptMs / 2,
      socketTimeout: attemptMs,
      dnsTimeout: attemptMs / 2,
      // No text of a mail can make the hub read a file or call an address.
      disableFileAccess: true,
      disableUrlAccess: true,
    })
    const link = linkOf(url, message)
    const isUrgent = stateOf(message) === 'firing' && severityOf(message) === 'critical'
    try {
      const sent = transport.sendMail({
        from,
        to: [...to],
        // One line without control characters: nothing in a sentence begins another header.
        subject: plain(titleOf(message)),
        text: `${textOf(message, zone)}\n${link ? `\n${link}\n` : ''}`,
        // The same for each attempt, so that a mail that arrives twice can be told.
        messageId: `<${message.id}@${/@([\w.-]+)/.exec(from)?.[1] ?? 'telehub'}>`,
        date: new Date(message.made),
        headers: { 'auto-submitted': 'auto-generated', 'x-telehub-id': message.id },
        ...(isUrgent && { priority: 'high' as const }),
        envelope: { from: mailboxOf(from), to: to.map(mailboxOf) },
      })
      const { rejected } = await unlessOver(sent, signal)
      // The others have the mail: another attempt would send it to them again.
      if (rejected.length > 0)
        throw new Undeliverable(`the mail server rejects ${rejected.length} of ${to.length} receivers`)
    } catch (error) {
      const { code, responseCode = 0 } = error as { readonly code?: string; readonly responseCode?: number }
      if (code === 'EMESSAGE' && responseCode >= 500) throw new Undeliverable((error as Error).message)
      throw error
    } finally {
      transport.close()
    }
  }
}

function mailboxOf(text: string): string {
  return /<([^<>]+)>$/.exec(text)?.[1] ?? text.trim()
}

/** Rejects when the signal aborts: a server may send so slowly that no timeout of a socket ends it. */
function unlessOver<T>(sent: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const end = () => reject(new Error('the mail server took too long'))
    signal.addEventListener('abort', end, { once: true })
    sent.then(resolve, reject).finally(() => signal.removeEventListener('abort', end))
  })
}
