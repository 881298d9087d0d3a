import { type ClusterIdentity, holderOf } from '../cluster/hub-settings.js'
import { HubError } from '../errors.js'
import type { Counters } from '../observe/counters.js'
import { increment } from '../observe/counters.js'
import type { SentenceLog } from '../observe/log.js'
import type { BackEndCommand } from '../pipeline/pipeline-api.js'
import type { MicrosecondClock, MillisecondClock } from '../runtime/time.js'
import { isRequest } from '../topics.js'
import type { CommandEntry } from './command-entry.js'
import { type CommandList, hashOf } from './command-list.js'
import type { CommandTaker } from './mqtt-commands.js'
import type { Sending, SendingListener } from './sending.js'
import { type ServiceAnswers, ServiceSending } from './service-sending.js'

export interface BackEndsOptions {
  /** URLs of RabbitMQ's nodes. Empty: services take requests over MQTT. */
  readonly rabbitmqUrls: readonly string[]
  readonly cluster: ClusterIdentity
  readonly identity: { readonly hubId: string }
  readonly commands: CommandTaker & SendingListener
  readonly list: Pick<CommandList, 'find' | 'all'>
  readonly clock: MicrosecondClock
  readonly monotonic: MillisecondClock
  readonly counters: Pick<Counters, 'commands'>
  readonly log: Pick<SentenceLog, 'warn'>
}

/** In place of the session name of a client: the command has come by RabbitMQ. */
const amqpCaller = ''

/** Microseconds before a start: answers of that time are sent to back ends again. */
const repliedAgain = 60e6

/**
 * The programs behind RabbitMQ: services that take requests from a queue, and back ends that send commands to devices and
 * wait for the answers.
 */
export class BackEnds implements ServiceAnswers {
  readonly #options: BackEndsOptions
  /** Undefined without RabbitMQ. */
  #services: ServiceSending | undefined

  constructor(options: BackEndsOptions) {
    this.#options = options
  }

  /** Begins when the commands are restored. Back ends that may have missed an answer before a crash get it again. */
  async start(): Promise<void> {
    const { rabbitmqUrls: urls, cluster, identity, clock, commands, counters, list, log, monotonic } = this.#options
    if (urls.length === 0) return
    // Loaded for those who need it.
    const { RabbitServices } = await import('../rabbitmq/service-queue.js')
    const queue = new RabbitServices({ urls, hubId: identity.hubId, holder: holderOf(cluster, identity.hubId), clock })
    this.#services = new ServiceSending({ queue, listener: commands, answers: this, monotonic, counters, log })
    this.#services.start()
    const lately = clock.now() - repliedAgain
    for (const entry of list.all()) if (entry.isOver && (entry.overAt ?? 0) > lately) this.respond(entry)
  }

  async stop(): Promise<void> {
    await this.#services?.stop()
  }

  /** Returns what sends a command: requests go to services by the queue, if there is one. */
  sendingOf(entry: CommandEntry, usual: Sending): Pick<Sending, 'add'> {
    return (isRequest(entry.subject.topic) && this.#services) || usual
  }

  /** Takes the answer of a service, which may come late, or again. */
  async serviceAnswered(id: string, payload: Buffer, isGood: boolean): Promise<void> {
    const { commands, counters, list } = this.#options
    const entry = list.find(id)
    if (entry && isRequest(entry.subject.topic)) await commands.answered(entry, payload, entry.subject.topic, isGood)
    else increment(counters.commands, 'late_answer')
  }

  /** Takes a command of a back end. Resolves when it is on disk, or refused; rejects when it is to come again. */
  async asked({ topic, payload, expiresAt, reply }: BackEndCommand): Promise<void> {
    const { queue, correlationId, key, isRedelivered } = reply
    const expiryMs = expiresAt === undefined ? undefined : (expiresAt - this.#options.clock.now()) / 1_000
    // With topic and payload: a program that counts its messages anew after a restart asks for something else.
    const body = hashOf([topic, payload])
    const about = { topic, payload: Buffer.from(payload), user: '', caller: '(amqp)', via: 'amqp' } as const
    const correlation = correlationId === undefined ? undefined : Buffer.from(correlationId)
    try {
      if (expiryMs !== undefined && expiryMs < 1) throw new HubError('bad_request', 'the message has expired')
      const { id, isRepeated, isOver } = await this.#options.commands.send(
        { ...about, key: `amqp ${key} ${body}`, ...(expiryMs !== undefined && { expiryMs }) },
        { replyTo: { topic: queue, client: amqpCaller, correlation }, isNew: !isRedelivered },
      )
      const known = isRepeated && isOver ? this.#options.list.find(id) : undefined
      if (known) this.respond(known)
    } catch (error) {
      // The disk, or a hub that stops: the message comes again.
      if (!(error instanceof HubError) || error.httpStatus >= 500) throw error
      const refused = { payload: Buffer.alloc(0), state: 'failed', reason: error.message }
      this.#services?.reply({ replyTo: queue, correlationId, ...refused })
    }
  }

  /** Sends the end of a command to the back end that waits for it. Returns false when it is none of a back end. */
  respond(entry: CommandEntry): boolean {
    const { answer, id, reason, state, subject } = entry
    const { replyTo } = subject
    if (replyTo?.client !== amqpCaller) return false
    const { topic, correlation } = replyTo
    const payload = answer?.payload ?? Buffer.alloc(0)
    const reply = { replyTo: topic, correlationId: correlation?.toString(), payload, state, reason }
    this.#services?.reply(reply, () => this.#options.list.find(id) === entry)
    return true
  }
}
