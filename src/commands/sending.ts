import type { Lending, Receiver } from '../broker/broker.js'
import type { Outward } from '../model.js'
import { encodeProperties } from '../mqtt/message-properties.js'
import { deviceLevels } from '../pipeline/pipeline-api.js'
import { Slices } from '../runtime/slices.js'
import type { MicrosecondClock, MillisecondClock } from '../runtime/time.js'
import { hubTopics } from '../topics.js'
import { byNumber, type CommandEntry } from './command-entry.js'
import { Lane } from './lane.js'
import { reasons } from './reasons.js'
import { WaitingTopics } from './waiting-topics.js'

/** What becomes of a command on its way to a device. Implemented by `Commands`. */
export interface SendingListener {
  /** Whether the command may still be sent; ends the command if its time is over. */
  mayBeSent(entry: CommandEntry): boolean
  /** Calls `done` when it is on disk that the command is sent. */
  sending(entry: CommandEntry, to: readonly Receiver[], done: (error: Error | undefined) => void): void
  sent(entry: CommandEntry): void
  acknowledged(entry: CommandEntry): void
  refused(entry: CommandEntry, reason: string): void
}

export interface SendingOptions {
  readonly lending: Pick<Lending, 'receivers' | 'send'>
  readonly clock: MicrosecondClock
  readonly monotonic: MillisecondClock
  readonly listener: SendingListener
}

/** Pause after which lanes are looked at, although nothing was acknowledged. */
const stallMs = 100

/**
 * Sends the commands that wait: to clients that are connected, in the order in which the commands were asked for, and no
 * more at a time than a client takes. A command whose client leaves without PUBACK waits again, and is then marked as
 * sent before. [MQTT-3.3.1-1]
 */
export class Sending {
  readonly #options: SendingOptions
  readonly #waiting = new WaitingTopics<CommandEntry>()
  /** New commands, and filters of clients that are back, to be looked at next, each once. */
  readonly #queue = new Set<CommandEntry | string>()
  #isRunning = false
  #isStopped = false
  /** By session name. */
  readonly #lanes = new Map<string, Lane>()
  /** Deliveries to each session whose records are on the way to the disk. */
  readonly #reserved = new Map<string, number>()
  #timer: NodeJS.Timeout | undefined

  constructor(options: SendingOptions) {
    this.#options = options
  }

  /** Adds a command that waits. */
  add(entry: CommandEntry): void {
    this.#waiting.add(entry.subject.topic, entry)
    this.#enqueue(entry)
  }

  /** Removes a command that waits no more. */
  remove(entry: CommandEntry): void {
    this.#waiting.remove(entry.subject.topic, entry)
  }

  /** Sends what waits for clients with these subscriptions. */
  wake(filters: Iterable<string>): void {
    if (this.#waiting.size > 0) for (const filter of filters) this.#enqueue(filter)
  }

  stop(): void {
    this.#isStopped = true
    clearTimeout(this.#timer)
  }

  #enqueue(one: CommandEntry | string): void {
    this.#queue.add(one)
    if (this.#isRunning || this.#isStopped) return
    this.#isRunning = true
    if (typeof one === 'string') setImmediate(() => void this.#run())
    else void this.#run()
  }

  async #run(): Promise<void> {
    const slices = new Slices()
    for (const next of this.#queue) {
      this.#queue.delete(next)
      const entries = typeof next === 'string' ? this.#waiting.match(next) : [next]
      const inOrder = entries.length > 1 ? [...entries].sort(byNumber) : entries
      for (const entry of inOrder) {
        this.#offer(entry)
        if (slices.isOver) await slices.turn()
        if (this.#isStopped) return
      }
    }
    this.#isRunning = false
  }

  #offer(entry: CommandEntry): void {
    if (!entry.isWaiting || !this.#options.listener.mayBeSent(entry)) return
    const receivers = this.#receivers(entry)
    const busy = this.#busy(entry, receivers)
    if (busy) this.#stall(busy.name, entry)
    else if (receivers.length > 0) this.#begin(entry, receivers)
  }

  #receivers({ subject: { topic, client } }: CommandEntry): readonly Receiver[] {
    return this.#options.lending.receivers({ topic, client, levels: deviceLevels(topic) })
  }

  #roomOf({ name, room }: Receiver): number {
    return room - (this.#reserved.get(name) ?? 0)
  }

  /** Returns a receiver that has no room, or for which earlier commands wait. */
  #busy(entry: CommandEntry, receivers: readonly Receiver[]): Receiver | undefined {
    return receivers.find(receiver => this.#isBehind(receiver, entry) || this.#roomOf(receiver) <= 0)
  }

  #isBehind({ name }: Receiver, entry: CommandEntry): boolean {
    const first = this.#lanes.get(name)?.first
    return first !== undefined && first.subject.number < entry.subject.number
  }

  #reserve(receivers: readonly Receiver[], by: 1 | -1): void {
    for (const { name } of receivers) {
      const reserved = (this.#reserved.get(name) ?? 0) + by
      if (reserved > 0) this.#reserved.set(name, reserved)
      else this.#reserved.delete(name)
    }
  }

  #stall(name: string, entry: CommandEntry): void {
    if (this.#isStopped) return
    let lane = this.#lanes.get(name)
    if (!lane) {
      lane = new Lane()
      this.#lanes.set(name, lane)
    }
    lane.add(entry)
    this.#wait()
  }

  /** Sends commands that wait for room, as far as there is any. */
  async #advance(name: string, slices = new Slices()): Promise<void> {
    // The lane may be another one after a turn.
    for (let lane = this.#lanes.get(name); lane && !this.#isStopped; lane = this.#lanes.get(name)) {
      const entry = lane.take()
      if (!entry) {
        this.#lanes.delete(name)
        return
      }
      if (entry.isWaiting && this.#options.listener.mayBeSent(entry)) {
        const receivers = this.#receivers(entry)
        const busy = this.#busy(entry, receivers)
        // Another client may be the receiver by now.
        if (busy) this.#stall(busy.name, entry)
        else if (receivers.length > 0) this.#begin(entry, receivers)
        if (busy?.name === name) return
      }
      if (slices.isOver) await slices.turn()
    }
  }

  async #advanceAll(): Promise<void> {
    const slices = new Slices()
    for (const name of [...this.#lanes.keys()]) {
      await this.#advance(name, slices)
      if (slices.isOver) await slices.turn()
    }
  }

  #wait(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined
      void this.#advanceAll()
    }, stallMs).unref()
  }

  #begin(entry: CommandEntry, receivers: readonly Receiver[]): void {
    entry.isSending = true
    this.#reserve(receivers, 1)
    this.#options.listener.sending(entry, receivers, error => {
      entry.isSending = false
      this.#reserve(receivers, -1)
      if (this.#isStopped || !entry.isWaiting) return
      const late = receivers.find(receiver => this.#isBehind(receiver, entry))
      if (error || late) this.#stall((late ?? receivers[0])?.name ?? '', entry)
      else if (this.#options.listener.mayBeSent(entry)) this.#send(entry, receivers)
    })
  }

  #send(entry: CommandEntry, meant: readonly Receiver[]): void {
    const { lending, listener } = this.#options
    const { topic, client } = entry.subject
    const lease = (receiver: Receiver) => {
      entry.leases++
      return {
        over: (end: 'acknowledged' | 'refused' | 'left') => {
          entry.leases--
          if (end === 'acknowledged') listener.acknowledged(entry)
          else if (end === 'refused') listener.refused(entry, reasons['device-refused'])
          // Before the commands that wait already, and to whoever else is there.
          else if (entry.isWaiting) this.#stall(receiver.name, entry)
          if (this.#lanes.has(receiver.name)) setImmediate(() => void this.#advance(receiver.name))
        },
      }
    }
    const addressee = { topic, client, levels: deviceLevels(topic), meant: meant.map(({ name }) => name) }
    const { to, tooLarge } = lending.send(addressee, this.#messageOf(entry), entry.sends > 1, lease)
    // Of a shared subscription another member may get it than the one that was there before.
    entry.sentTo(to)
    if (to.length > 0) listener.sent(entry)
    else if (tooLarge) listener.refused(entry, reasons['too-large'])
    // The device has left meanwhile, or other messages have taken its room.
    else this.#stall(meant[0]?.name ?? '', entry)
  }

  #messageOf(entry: CommandEntry): Outward {
    const { clock, monotonic } = this.#options
    const { id, topic } = entry.subject
    const properties = encodeProperties({
      responseTopic: hubTopics.commandAnswer(id),
      correlationData: Buffer.from(id),
    })
    const leftMs = Math.max(1, entry.deadline - monotonic.now())
    const expiresAt = clock.now() + leftMs * 1_000
    return { topic, payload: entry.payload, qos: 1, retain: false, properties, expiresAt }
  }
}
