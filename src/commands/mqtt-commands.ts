import type { CommandClient, CommandPublish, Lending } from '../broker/broker.js'
import type { HubError } from '../errors.js'
import { decodeProperties, encodeProperties } from '../mqtt/message-properties.js'
import { type Fault, reasonCode } from '../mqtt/reason-codes.js'
import { type Counters, increment } from '../observe/counters.js'
import { commandPrefix, commandsPrefix, isRequest, isTopicName } from '../topics.js'
import type { CommandRequest, DeviceCommand } from './command.js'
import type { CommandEntry, ReplyAddress } from './command-entry.js'
import type { CommandJournal } from './command-journal.js'
import type { CommandList } from './command-list.js'
import { requestFault } from './request-fault.js'
import { failedProperty } from './service-sending.js'

/** How a request is handed on within the hub, beside what callers give. */
export interface RequestMore {
  readonly replyTo?: ReplyAddress
  /** Client id by which the rules of the user are asked. Undefined: as for requests over HTTP. */
  readonly asker?: string
  /** Whether the request is a new one, whatever had its key before. */
  readonly isNew?: boolean
}

/** Takes commands and answers. Implemented by `Commands`. */
export interface CommandTaker {
  send(request: CommandRequest, more: RequestMore): Promise<DeviceCommand>
  answered(entry: CommandEntry, payload: Buffer, topic: string, isGood: boolean): Promise<void>
}

export interface MqttCommandsOptions {
  readonly commands: CommandTaker
  readonly list: Pick<CommandList, 'find' | 'over'>
  readonly journal: Pick<CommandJournal, 'changed'>
  readonly broker: { readonly lending: Pick<Lending, 'deliver'> }
  readonly counters: Pick<Counters, 'commands'>
  /** Largest payload with its topic. */
  readonly packetBytes: number
}

/**
 * Commands over MQTT: a client asks by a publish to `$hub/command/{topic}`, and gets the answer at its response topic;
 * the device that got a command may answer at `$hub/commands/{id}/answer`, its response topic. (MQTT 5 §4.10)
 */
export class MqttCommands {
  readonly #parts: MqttCommandsOptions

  constructor(parts: MqttCommandsOptions) {
    this.#parts = parts
  }

  take(client: CommandClient, publish: CommandPublish, done: (error?: Error) => void): Fault | 'other' | undefined {
    const { topic } = publish
    if (isRequest(topic)) return this.#ask(client, publish, topic, done)
    if (topic.startsWith(commandPrefix)) {
      return this.#ask(client, publish, topic.slice(commandPrefix.length), done)
    }
    if (!topic.startsWith(commandsPrefix) || !topic.endsWith('/answer')) return 'other'
    return this.#answer(client, publish, done)
  }

  #answer(client: CommandClient, publish: CommandPublish, done: (error?: Error) => void): Fault | undefined {
    const { topic, payload, properties } = publish
    const entry = this.#parts.list.find(topic.slice(commandsPrefix.length, -'/answer'.length))
    if (!entry?.to.includes(client.name)) {
      return { code: reasonCode.notAuthorized, reason: `${topic}: this client has got no such command` }
    }
    const given = properties && decodeProperties(properties)?.userProperties
    const hasFailed = given?.some(([name]) => name === failedProperty) === true
    this.#parts.commands.answered(entry, payload, topic, !hasFailed).then(() => done(), done)
    return undefined
  }

  #ask(
    client: CommandClient,
    publish: CommandPublish,
    topic: string,
    done: (error?: Error) => void,
  ): Fault | undefined {
    const { payload, expiry, dup } = publish
    const given = publish.properties && decodeProperties(publish.properties)
    const correlation = given?.correlationData && Buffer.from(given.correlationData)
    const response = given?.responseTopic
    const request = {
      topic,
      payload,
      user: client.user,
      via: 'mqtt',
      caller: client.user || client.id,
      ...(expiry >= 0 && { expiryMs: expiry * 1_000 }),
    } as const
    const fault = requestFault(request, client.access, this.#parts.packetBytes)
    if (fault) return faultOf(fault)
    const replyTo =
      response !== undefined && isTopicName(response) && !response.startsWith('$')
        ? { topic: response, client: client.name, correlation }
        : undefined
    // A client that was not acknowledged sends the request again, and means no second command.
    const key = correlation && `mqtt ${client.id} ${correlation.toString('base64')}`
    const more = { asker: client.id, isNew: !dup, ...(replyTo && { replyTo }) }
    this.#parts.commands.send({ ...request, key }, more).then(({ id, isRepeated, isOver }) => {
      done()
      const known = isRepeated && isOver ? this.#parts.list.find(id) : undefined
      if (known) this.respond(known)
    }, done)
    return undefined
  }

  /**
   * Sends the end of a command to the client that has asked for it with a response topic: into its session, so that a
   * client that is away gets it later. A client without a session, or that is not subscribed, gets nothing.
   */
  respond(entry: CommandEntry): void {
    const { id, state, reason, answer, subject } = entry
    // Back ends have their own way.
    if (!subject.replyTo?.client) return
    const { topic, client, correlation } = subject.replyTo
    const properties = encodeProperties({
      ...(correlation && { correlationData: correlation }),
      userProperties: [
        ['telehub-command', id],
        ['telehub-state', state],
        ...(reason === undefined ? [] : [['telehub-reason', reason] as const]),
      ],
    })
    const payload = answer?.payload ?? Buffer.alloc(0)
    const message = { topic, payload, qos: 1, retain: false, properties, expiresAt: undefined } as const
    const { broker, counters, journal } = this.#parts
    const done = (error?: Error) => {
      // Not on disk: sent once more after a restart.
      if (error || entry.isResponded) return
      entry.isResponded = true
      journal.changed(entry)
    }
    if (broker.lending.deliver(client, message, done)) return
    increment(counters.commands, 'dropped_answer')
    done()
  }

  /** Sends, after a start, the responses that no session is known to have. Called when the broker knows all sessions. */
  respondAgain(): void {
    for (const entry of this.#parts.list.over()) if (!entry.isResponded) this.respond(entry)
  }
}

/** Returns an error of the hub as MQTT 5 says it. */
export function faultOf(error: HubError): Fault {
  const codes: Partial<Record<HubError['code'], number>> = {
    bad_request: reasonCode.topicNameInvalid,
    forbidden: reasonCode.notAuthorized,
    too_large: reasonCode.packetTooLarge,
    too_many: reasonCode.quotaExceeded,
    key_reused: reasonCode.implementationSpecific,
  }
  return { code: codes[error.code] ?? reasonCode.unspecified, reason: error.message }
}
