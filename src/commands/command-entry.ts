import { randomBytes } from 'node:crypto'
import type { CommandAnswer, CommandRequest, CommandState, CommandWay, DeviceCommand } from './command.js'

/** Where the answer of a command goes, that an MQTT 5 client has asked for. (MQTT 5 §4.10) */
export interface ReplyAddress {
  readonly topic: string
  /** Session name of the client. */
  readonly client: string
  readonly correlation: Buffer | undefined
}

/** Everything of a command that never changes. */
export interface CommandSubject {
  readonly id: string
  /** Commands are sent in the order of their numbers. */
  readonly number: number
  readonly topic: string
  readonly client: string | undefined
  readonly user: string
  /** Client id by which the rules of the user are asked. */
  readonly asker: string
  readonly via: CommandWay
  readonly askedAt: number
  readonly expiresAt: number
  readonly expiryMs: number
  /** Hashes of the idempotency key, with its user, and of what was asked. */
  readonly key: string | undefined
  readonly body: string | undefined
  readonly replyTo: ReplyAddress | undefined
}

/** Most bytes of a payload that are kept once the command is over, and of an answer. */
const keptPayload = 1_024
const keptAnswer = 16_384

/** Session names that a command keeps of clients that it was sent to, the last ones. */
const mostNames = 1_000

/** What a record says that has changed. Missing: as before. */
export interface CommandChange {
  readonly s: CommandState
  readonly o?: boolean
  readonly z?: boolean
  /** Whether the response is in the session of the client that waits for it, or there is none. */
  readonly d?: boolean
  readonly r?: string
  readonly f?: string
  /** Times: sent, delivered, over. */
  readonly t?: readonly (number | null)[]
  /** Number of sends, sequence number of the spool at the last one, and session names that it went to. */
  readonly n?: readonly [sends: number, after: number, to: readonly string[]]
  /** Answer: payload in base64, topic, whether it is good, whether it is cut. */
  readonly a?: readonly [payload: string, topic: string, isGood: boolean, isCut: boolean]
}

/** A command as written when it is asked for, and in a snapshot. */
export interface CommandRecord extends CommandChange {
  readonly i: string
  readonly c: number
  readonly p: string
  readonly m: Omit<CommandSubject, 'id' | 'number' | 'replyTo'>
  readonly w?: readonly [topic: string, client: string, correlation: string | null]
}

/** A command in the hands of the hub. */
export class CommandEntry {
  readonly subject: CommandSubject
  payload: Buffer
  state: CommandState = 'queued'
  isOver = false
  reason: string | undefined
  family: string | undefined
  sentAt: number | undefined
  deliveredAt: number | undefined
  overAt: number | undefined
  sends = 0
  /** Sequence number of the spool at the last send: answers come later. */
  after = 0
  /** Session names of the clients that it was sent to; see `sentTo`. */
  to: readonly string[] = []
  answer: CommandAnswer | undefined
  /** When the command expires, in milliseconds of a clock that never jumps. */
  deadline = Infinity
  /** Whether the command comes from before the start, so that the time that has passed is known by the wall clock only. */
  isRestored = false
  /** Whether the command itself is on disk. */
  isKept = false
  /** Whether the record that it is sent is on the way to the disk. */
  isSending = false
  /** Whether the client that waits for the response has it in its session, or there is no such session any more. */
  isResponded = false
  /** Deliveries that wait for PUBACK. */
  leases = 0
  /** Whether the command was sent with QoS 0 only, so that no PUBACK will come. */
  isUnconfirmed = false
  /** Whether a device that got the command may answer at its response topic. */
  canRespond = false
  /** Resolves when it is known whether the family of the device is known. Undefined before the command is sent. */
  planned: Promise<void> | undefined
  /** Called when the command is over, and that is on disk. */
  readonly waiting = new Set<() => void>()
  /** Resolves when the end of the command is on disk, or the disk has refused. Undefined before the end. */
  ended: Promise<void> | undefined
  /** Why the end of the command is not on disk. Undefined when it is, and before. */
  endFault: Error | undefined
  /** Resolves when the command itself is on disk. */
  kept: Promise<void> = Promise.resolve()

  constructor(subject: CommandSubject, payload: Buffer) {
    this.subject = subject
    this.payload = payload
  }

  /** Returns a new command, without a deadline. */
  static asked(
    { topic, payload, client, user, via }: CommandRequest,
    expiryMs: number,
    more: Pick<CommandSubject, 'number' | 'askedAt' | 'key' | 'body' | 'asker' | 'replyTo'>,
  ): CommandEntry {
    const about = { id: randomBytes(10).toString('hex'), topic, client, user, via, expiryMs }
    const expiresAt = more.askedAt + expiryMs * 1_000
    return new CommandEntry({ ...about, expiresAt, ...more }, Buffer.from(payload))
  }

  get id(): string {
    return this.subject.id
  }

  get topic(): string {
    return this.subject.topic
  }

  get client(): string | undefined {
    return this.subject.client
  }

  get user(): string {
    return this.subject.user
  }

  /** Bytes that count for the limits. */
  get bytes(): number {
    return this.payload.length + this.subject.topic.length + (this.answer?.payload.length ?? 0) + 300
  }

  /** Whether the command is to be sent to whoever comes. */
  get isWaiting(): boolean {
    if (this.isOver || this.isSending || this.leases > 0) return false
    return this.state === 'queued' || (this.state === 'sent' && !this.isUnconfirmed)
  }

  /** Notes the clients that it is sent to. Of very many, those that got it first may no longer answer. */
  sentTo(receivers: readonly { readonly name: string }[]): void {
    const names = receivers.map(({ name }) => name).filter(name => !this.to.includes(name))
    if (names.length > 0) this.to = [...this.to, ...names].slice(-mostNames)
  }

  /** Keeps no more of a command that is over than what people want to see. */
  shrink(): void {
    if (this.payload.length > keptPayload) this.payload = Buffer.from(this.payload.subarray(0, keptPayload))
  }

  over(state: CommandState, reason: string | undefined, now: number): void {
    this.state = state
    this.isOver = true
    this.reason = reason
    this.overAt = now
  }

  answered(payload: Buffer, topic: string, isGood: boolean): void {
    const isCut = payload.length > keptAnswer
    this.answer = { payload: Buffer.from(payload.subarray(0, keptAnswer)), topic, isGood, isCut }
  }

  /** Resolves when the command is over and that is on disk, or the time in milliseconds has passed. */
  async end(waitMs = 0): Promise<void> {
    if (this.isOver) return this.ended
    if (waitMs <= 0) return
    await new Promise<void>(resolve => {
      const over = () => {
        clearTimeout(timer)
        this.waiting.delete(over)
        resolve()
      }
      const timer = setTimeout(over, waitMs)
      this.waiting.add(over)
    })
  }

  /** Sets the deadline of a command from before the start. A clock that was set back gives it no more time than it had. */
  restart(now: number, monotonicNow: number): void {
    const { expiresAt, expiryMs } = this.subject
    this.deadline = monotonicNow + Math.min(expiryMs, Math.max(0, (expiresAt - now) / 1_000))
  }

  /** Resolves with whether an answer may come. */
  async mayAnswer(): Promise<boolean> {
    await this.planned
    return this.canRespond || this.family !== undefined
  }

  view(): DeviceCommand {
    const { id, topic, client, user, via, askedAt, expiresAt } = this.subject
    const { payload, state, isOver, reason, family, sentAt, deliveredAt, overAt, sends, answer } = this
    const about = { id, topic, payload, client, user, via, state, isOver, reason, family, askedAt, expiresAt }
    return { ...about, sentAt, deliveredAt, overAt, sends, answer }
  }

  // — records —

  change(): CommandChange {
    const { state, isOver, reason, family, sentAt, deliveredAt, overAt, sends, after, to, answer } = this
    return {
      s: state,
      ...(isOver && { o: true }),
      ...(this.isUnconfirmed && { z: true }),
      ...(this.isResponded && { d: true }),
      ...(reason !== undefined && { r: reason }),
      ...(family !== undefined && { f: family }),
      ...(sentAt !== undefined && { t: [sentAt, deliveredAt ?? null, overAt ?? null] }),
      ...(sentAt === undefined && overAt !== undefined && { t: [null, null, overAt] }),
      ...(sends > 0 && { n: [sends, after, to] as const }),
      ...(answer && { a: [answer.payload.toString('base64'), answer.topic, answer.isGood, answer.isCut] as const }),
    }
  }

  record(): CommandRecord {
    const { id, number, replyTo, ...m } = this.subject
    return {
      i: id,
      c: number,
      p: this.payload.toString('base64'),
      m,
      ...(replyTo && { w: [replyTo.topic, replyTo.client, replyTo.correlation?.toString('base64') ?? null] as const }),
      ...this.change(),
    }
  }

  restore({ s, o, z, d, r, f, t, n, a }: CommandChange): void {
    this.state = s
    this.isOver = o === true
    this.isUnconfirmed = z === true
    this.isResponded = d === true
    this.reason = r
    this.family = f
    if (t) {
      const [sent, delivered, over] = t.map(time => time ?? undefined)
      this.sentAt = sent
      this.deliveredAt = delivered
      this.overAt = over
    }
    if (n) {
      const [sends, after, to] = n
      this.sends = sends
      this.after = after
      this.to = to
    }
    if (a) {
      const [payload, topic, isGood, isCut] = a
      this.answer = { payload: Buffer.from(payload, 'base64'), topic, isGood, isCut }
    }
    if (this.isOver) this.shrink()
  }

  static from({ i, c, p, m, w, ...change }: CommandRecord): CommandEntry {
    const replyTo = w && {
      topic: w[0],
      client: w[1],
      correlation: w[2] === null ? undefined : Buffer.from(w[2], 'base64'),
    }
    const entry = new CommandEntry({ ...m, id: i, number: c, replyTo }, Buffer.from(p, 'base64'))
    entry.isKept = true
    entry.isRestored = true
    // Whether a device that had it speaks MQTT 5 is not on record.
    entry.canRespond = true
    entry.restore(change)
    return entry
  }
}

/** Compares commands by the order in which they were asked for. */
export function byNumber(a: CommandEntry, b: CommandEntry): number {
  return a.subject.number - b.subject.number
}
