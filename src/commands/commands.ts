import { join } from 'node:path'
import type { Authority } from '../auth/admission.js'
import type { Broker, CommandClient, CommandPort, CommandPublish, Receiver } from '../broker/broker.js'
import { type ClusterIdentity, clusterOf } from '../cluster/hub-settings.js'
import type { Settings } from '../config/settings.js'
import type { Files } from '../disk/files.js'
import { describe, HubError } from '../errors.js'
import { requestClientId } from '../model.js'
import type { Fault } from '../mqtt/reason-codes.js'
import type { Auditor } from '../observe/audit.js'
import { isSet } from '../observe/clock.js'
import { type Counters, increment } from '../observe/counters.js'
import type { IncidentReporter } from '../observe/incidents.js'
import type { SentenceLog } from '../observe/log.js'
import type { BackEndCommand, PipelineApi, Reply, ReplySink } from '../pipeline/pipeline-api.js'
import type { Part } from '../runtime/lifecycle.js'
import type { MicrosecondClock, MillisecondClock } from '../runtime/time.js'
import { isRequest } from '../topics.js'
import type { UsersListener } from '../users/user-directory.js'
import { AwaitedReplies } from './awaited-replies.js'
import { BackEnds } from './back-ends.js'
import type { CommandRequest, CommandState, DeviceCommand, ListedCommand } from './command.js'
import { byNumber, CommandEntry } from './command-entry.js'
import { CommandJournal } from './command-journal.js'
import { CommandList, hashOf } from './command-list.js'
import { type CommandTaker, MqttCommands, type RequestMore } from './mqtt-commands.js'
import { reasons } from './reasons.js'
import { requestFault } from './request-fault.js'
import { Sending, type SendingListener } from './sending.js'
import { StatePages } from './state-pages.js'

export type { CommandRequest, CommandState, CommandWay, DeviceCommand } from './command.js'

export interface CommandsOptions {
  readonly dir: string
  /** Milliseconds after which a command expires, unless the caller says otherwise. */
  readonly expiryMs: number
  /** Commands of one user that may be under way. */
  readonly perUser: number
  /** Largest payload with its topic. */
  readonly packetBytes: number
  /** URL of RabbitMQ, from which services take requests. Empty: they take them over MQTT. */
  readonly rabbitmqUrls: readonly string[]
  readonly cluster: ClusterIdentity
  readonly identity: { readonly hubId: string }
  readonly broker: Pick<Broker, 'lending' | 'publishAll'>
  readonly replies: Pick<PipelineApi, 'expectReply' | 'forgetReplies'>
  readonly spool: { readonly position: { readonly sequence: number } }
  readonly authority: Pick<Authority, 'access'>
  readonly clock: MicrosecondClock
  /** Clock that never jumps; milliseconds. */
  readonly monotonic: MillisecondClock
  /** Clock of the machine, whether it is set or not; milliseconds since the epoch. */
  readonly wall: MillisecondClock
  readonly counters: Counters
  readonly audit: Auditor
  readonly incidents: IncidentReporter
  readonly log: SentenceLog
  readonly files?: Files
}

export function commandSettings(settings: Settings, dir: string) {
  return {
    dir: join(dir, 'commands'),
    rabbitmqUrls: settings['rabbitmq.url'],
    cluster: clusterOf(settings),
    expiryMs: settings['commands.expiry'],
    perUser: settings['limits.commands'],
    packetBytes: settings['limits.packet'],
    monotonic: performance,
    wall: Date,
  } satisfies Partial<CommandsOptions>
}

/** Pause between two looks at commands whose time may be over. */
const sweepMs = 200

/** How long a command that is over is remembered, in microseconds. */
const rememberedFor = 24 * 3_600e6

/**
 * The commands to devices: each is on disk before the caller hears of it, is sent while its device is connected and its
 * time is not over, and has a state that says how far it has come (command.ts).
 */
export class Commands implements Part, CommandPort, CommandTaker, SendingListener, ReplySink, UsersListener {
  readonly name = 'commands'
  readonly #options: CommandsOptions
  readonly #list = new CommandList()
  readonly #journal: CommandJournal
  readonly #sending: Sending
  readonly #pages: StatePages
  readonly #mqtt: MqttCommands
  readonly #replies: AwaitedReplies
  readonly #backEnds: BackEnds
  #last = 0
  #isOpen = false
  /** Whether it is known who subscribes to what. */
  #isReady = false
  #isClockSet = false
  #timer: NodeJS.Timeout | undefined

  constructor(options: CommandsOptions) {
    const { broker, clock, dir, files, incidents, monotonic } = options
    this.#options = options
    this.#journal = new CommandJournal({ dir, files, incidents, entries: () => this.#list.all() })
    this.#sending = new Sending({ lending: broker.lending, clock, monotonic, listener: this })
    this.#replies = new AwaitedReplies(options.replies)
    this.#pages = new StatePages({ broker, clock })
    this.#mqtt = new MqttCommands({ ...options, commands: this, list: this.#list, journal: this.#journal })
    this.#backEnds = new BackEnds({ ...options, commands: this, list: this.#list })
  }

  /** Reads the journal, and continues with the commands that are under way. */
  async start(): Promise<void> {
    const { clock, monotonic, wall } = this.#options
    this.#isClockSet = isSet(wall.now())
    for (const entry of [...(await this.#journal.load()).values()].sort(byNumber)) {
      this.#last = Math.max(this.#last, entry.subject.number)
      entry.restart(clock.now(), monotonic.now())
      this.#list.add(entry)
      this.#pages.show(entry)
    }
    await this.#backEnds.start()
    this.#isOpen = true
    this.#resume().catch(error => this.#options.log.warn(`no commands are sent: ${describe(error)}`))
    this.#timer = setInterval(() => this.#sweep(), sweepMs).unref()
  }

  async stop(): Promise<void> {
    this.#isOpen = false
    clearInterval(this.#timer)
    this.#sending.stop()
    await this.#backEnds.stop()
    await this.#journal.close()
  }

  /** Number of commands that are under way. */
  get open(): number {
    return this.#list.openCount
  }

  /**
   * Takes a command. Resolves with the command when it is on disk; with `waitMs`, when it is over or the time has passed.
   * Rejects with `bad_request`, with `forbidden` and the rule, with `too_large`, `too_many`, `key_reused`, `overloaded`, or
   * as the disk does: then the command is not carried out.
   */
  async send(request: CommandRequest, more: RequestMore = {}): Promise<DeviceCommand> {
    if (!this.#isOpen) throw new HubError('stopping', 'the hub does not take commands now; try again')
    const { authority, clock, expiryMs, monotonic, packetBytes, perUser } = this.#options
    const { user, topic, payload, waitMs } = request
    const asker = more.asker ?? requestClientId(user)
    const access = user === '' && more.asker === undefined ? undefined : authority.access(user, asker)
    const fault = requestFault(request, access, packetBytes)
    if (fault) throw fault
    const { key, body } = hashesOf(request)
    const known = more.isNew ? undefined : this.#list.keyed(key, body)
    if (known) {
      await known.kept
      await known.end(waitMs)
      return { ...known.view(), isRepeated: true }
    }
    this.#list.admit(user, payload.length + topic.length + 300, perUser)
    const about = { number: ++this.#last, askedAt: clock.now(), key, body, asker, replyTo: more.replyTo }
    const entry = CommandEntry.asked(request, request.expiryMs ?? expiryMs, about)
    entry.deadline = monotonic.now() + entry.subject.expiryMs
    this.#list.add(entry)
    entry.kept = this.#keep(entry, request)
    await entry.kept
    await entry.end(waitMs)
    return entry.view()
  }

  /** Returns a command. Undefined when there is none with this id. */
  find(id: string): DeviceCommand | undefined {
    return this.#list.find(id)?.view()
  }

  /** Returns commands, the newest first, for which `isWanted` is true, and at most `most`. */
  list(isWanted: (command: ListedCommand) => boolean, most: number): readonly DeviceCommand[] {
    return this.#list.newest(isWanted, most)
  }

  /**
   * Cancels a command: it is not sent, or not again. Resolves when that is on disk. Rejects with `not_found`, and with
   * `busy` when the device has the command, or the command is over.
   */
  async cancel(id: string, by: string): Promise<DeviceCommand> {
    const entry = this.#list.find(id)
    if (!entry) throw new HubError('not_found', `there is no command ${id}`)
    if (entry.isOver || entry.state === 'delivered') {
      throw new HubError('busy', `command ${id} cannot be cancelled any more: it is ${entry.state}`)
    }
    const had = entry.sends > 0 ? '; it was sent before, so the device may have it' : ''
    await this.#end(entry, 'cancelled', `cancelled by ${by}${had}`)
    return entry.view()
  }

  // — SendingListener: on the way to the device —

  mayBeSent(entry: CommandEntry): boolean {
    if (!this.#isOpen || !this.#isReady || entry.isOver) return false
    const isInTime = timely(entry, this.#options)
    if (isInTime === false) void this.#end(entry, ...expired(entry))
    return isInTime === true
  }

  sending(entry: CommandEntry, to: readonly Receiver[], done: (error: Error | undefined) => void): void {
    const before = { state: entry.state, sends: entry.sends, sentAt: entry.sentAt, to: entry.to }
    entry.state = 'sent'
    entry.sends++
    entry.sentAt = this.#options.clock.now()
    entry.after = this.#options.spool.position.sequence
    entry.sentTo(to)
    entry.canRespond = to.some(({ canRespond }) => canRespond)
    const expect = this.#replies.soon(entry)
    this.#journal.changed(entry, error => {
      expect()
      if (error && !entry.isOver) Object.assign(entry, before)
      done(error)
    })
  }

  sent(entry: CommandEntry): void {
    if (entry.leases === 0) {
      entry.isUnconfirmed = true
      this.#sending.remove(entry)
      this.#journal.changed(entry)
      void this.#endUnanswered(entry, 'sent', reasons.unconfirmed)
    }
    this.#pages.show(entry)
  }

  acknowledged(entry: CommandEntry): void {
    if (entry.isOver || entry.state !== 'sent') return
    entry.state = 'delivered'
    entry.deliveredAt = this.#options.clock.now()
    this.#sending.remove(entry)
    this.#journal.changed(entry)
    this.#pages.show(entry)
    void this.#endUnanswered(entry, 'delivered', undefined)
  }

  refused(entry: CommandEntry, reason: string): void {
    if (!entry.isOver && entry.leases === 0) void this.#end(entry, 'failed', reason)
  }

  /** Takes the answer of a device, as the processor thread has recognised it. */
  replied({ id, payload, topic, isGood }: Reply): void {
    const entry = this.#list.find(id)
    if (!entry) return
    const answer = mayReadAnswer(entry, topic, this.#options.authority) ? Buffer.from(payload) : Buffer.alloc(0)
    // A refusal of the disk is logged at the end of the command.
    this.answered(entry, answer, topic, isGood).catch(() => {})
  }

  /** Takes the answer to a command that was sent. Resolves when it is on disk; rejects when it is to come again. */
  async answered(entry: CommandEntry, payload: Buffer, topic: string, isGood: boolean): Promise<void> {
    if (entry.isOver || entry.sends === 0) {
      await entry.ended
      if (entry.endFault) return this.#journal.endedAgain(entry)
      return increment(this.#options.counters.commands, 'late_answer')
    }
    entry.deliveredAt ??= this.#options.clock.now()
    entry.answered(payload, topic, isGood)
    await this.#end(entry, isGood ? 'answered' : 'failed', isGood ? undefined : reasons['device-failed'])
    if (entry.endFault) throw entry.endFault
  }

  readonly asked = (command: BackEndCommand): Promise<void> => this.#backEnds.asked(command)

  /** Called when the processor thread is a new one, which knows of no command. */
  restarted(): void {
    for (const entry of [...this.#list.open()]) if (entry.sends > 0) this.#replies.expect(entry)
  }

  // — CommandPort: MQTT clients —

  topicOf(id: string): string | undefined {
    return this.#list.find(id)?.subject.topic
  }

  onSubscribed(filters: Iterable<string>): void {
    this.#sending.wake(filters)
  }

  onRemoved(clientId: string): void {
    this.#cancel(({ client }) => (client === clientId ? `client ${JSON.stringify(clientId)} was removed` : undefined))
  }

  take(client: CommandClient, publish: CommandPublish, done: (error?: Error) => void): Fault | 'other' | undefined {
    return this.#mqtt.take(client, publish, done)
  }

  /** Cancels what users may no longer ask for. */
  onUsersChanged(): void {
    this.#cancel(permissionFaults(this.#options.authority))
  }

  /** Cancels what the device does not have, and for which there is a reason. */
  #cancel(reasonOf: (subject: CommandEntry['subject']) => string | undefined): void {
    for (const entry of [...this.#list.open()]) {
      const reason = entry.state === 'delivered' ? undefined : reasonOf(entry.subject)
      if (reason !== undefined) void this.#end(entry, 'cancelled', reason)
    }
  }

  /** Resolves when a new command is on disk. Otherwise the command is forgotten, and the reason thrown. */
  async #keep(entry: CommandEntry, { caller, address, via, user }: CommandRequest): Promise<void> {
    try {
      await new Promise<void>((resolve, reject) => {
        this.#journal.created(entry, error => (error ? reject(error) : resolve()))
        // The record that the command is sent may be in the same group: one trip to the disk instead of two.
        this.#backEnds.sendingOf(entry, this.#sending).add(entry)
      })
    } catch (error) {
      this.#sending.remove(entry)
      entry.isOver = true
      this.#list.remove(entry)
      throw error
    }
    increment(this.#options.counters.commands, 'asked')
    const about = { event: 'command', result: 'asked', what: entry.subject.topic, detail: entry.id } as const
    // The command itself leaves first.
    setImmediate(() => this.#options.audit.record({ ...about, user: caller ?? user, address, via }))
    this.#pages.show(entry)
  }

  /** Continues with the commands from before the start, once the broker knows all kept sessions. */
  async #resume(): Promise<void> {
    await this.#options.broker.publishAll([])
    this.#isReady = true
    // The users may have changed while the hub was down.
    this.onUsersChanged()
    this.restarted()
    this.#addWaiting()
    this.#mqtt.respondAgain()
  }

  #addWaiting(): void {
    for (const entry of this.#list.open())
      if (entry.isWaiting) this.#backEnds.sendingOf(entry, this.#sending).add(entry)
  }

  /** Ends a command to which nobody can answer. */
  async #endUnanswered(entry: CommandEntry, state: CommandState, reason: string | undefined): Promise<void> {
    if (!(await entry.mayAnswer()) && !entry.isOver) void this.#end(entry, state, reason)
  }

  #sweep(): void {
    const { clock, monotonic, wall } = this.#options
    const now = monotonic.now()
    for (const entry of [...this.#list.open()]) if (now >= entry.deadline) void this.#end(entry, ...expired(entry))
    // Nobody knew of commands from before the start how late they were.
    if (!this.#isClockSet && isSet(wall.now())) this.#addWaiting()
    this.#isClockSet = isSet(wall.now())
    for (let old = this.#list.excess(clock.now() - rememberedFor); old; old = this.#list.excess(0)) {
      this.#list.remove(old)
      this.#journal.forgotten(old.id)
      this.#pages.clear(old)
    }
    this.#pages.sweep()
  }

  /** Ends a command. Resolves when that is on disk, or the disk has refused. */
  #end(entry: CommandEntry, state: CommandState, reason: string | undefined): Promise<void> {
    entry.over(state, reason, this.#options.clock.now())
    this.#sending.remove(entry)
    this.#list.ended(entry)
    increment(this.#options.counters.commands, state)
    entry.ended = new Promise(resolve => {
      this.#journal.ended(entry, () => {
        const { endFault, id } = entry
        if (endFault) this.#options.log.warn(`the end of command ${id} could not be written: ${describe(endFault)}`)
        this.#pages.show(entry)
        if (!this.#backEnds.respond(entry)) this.#mqtt.respond(entry)
        for (const over of entry.waiting) over()
        this.#replies.forget(id)
        resolve()
      })
    })
    return entry.ended
  }
}

/** Returns what says why the user of a command may not ask for it any more, for use at one moment. */
function permissionFaults(authority: CommandsOptions['authority']) {
  const known = new Map<string, ReturnType<Authority['access']>>()
  return ({ user, asker, topic }: CommandEntry['subject']): string | undefined => {
    if (user === '') return undefined
    const name = `${user}\0${asker}`
    const access = known.has(name) ? known.get(name) : authority.access(user, asker)
    known.set(name, access)
    return access?.mayPublish(topic) === false ? `user ${user} may not publish to this topic any more` : undefined
  }
}

/** Returns hashes: of the key of a request, with its user, and of what tells apart requests with one key. */
function hashesOf({ user, key, topic, client = '', expiryMs, payload, via }: CommandRequest) {
  if (key === undefined) return {}
  // A message that RabbitMQ delivers again has less time left.
  const expiry = via === 'amqp' ? '' : String(expiryMs ?? '')
  return { key: hashOf([user, key]), body: hashOf([topic, client, expiry, payload]) }
}

/** Returns whether who has asked may read the topic of an answer: by the payload the user may have chosen the topic. */
function mayReadAnswer({ subject }: CommandEntry, topic: string, authority: Pick<Authority, 'access'>): boolean {
  const { user, asker } = subject
  const access = user === '' ? undefined : authority.access(user, asker)
  return access === undefined || access.mayRead(topic)
}

/** Returns the state in which a command ends whose time is over, and why. */
function expired({ isUnconfirmed, state, sends, subject }: CommandEntry): [state: CommandState, reason: string] {
  if (isRequest(subject.topic)) {
    return ['expired', sends === 0 ? reasons['no-service'] : reasons['no-answer']]
  }
  if (isUnconfirmed) return ['sent', reasons.unconfirmed]
  if (state === 'delivered') return ['delivered', reasons['not-answered']]
  if (sends === 0) return ['expired', reasons['not-there']]
  return ['expired', reasons['not-acknowledged']]
}

/** Returns whether the time of a command is not over. Undefined when nobody knows how late it is. */
function timely(
  { isRestored, deadline, subject }: CommandEntry,
  { clock, monotonic, wall }: Pick<CommandsOptions, 'clock' | 'monotonic' | 'wall'>,
): boolean | undefined {
  if (monotonic.now() >= deadline) return false
  if (!isRestored) return true
  // How long the hub was down is known to a clock that is set, and to no other.
  return isSet(wall.now()) ? clock.now() < subject.expiresAt : undefined
}
