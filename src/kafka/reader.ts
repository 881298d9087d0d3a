import { setTimeout as sleep } from 'node:timers/promises'
import type { Message, Rejection } from '../model.js'
import { type Batch, type QueueReader, Wakeup } from '../queue/queue.js'
import { unlessAborted } from '../runtime/retry.js'
import type { MicrosecondClock } from '../runtime/time.js'
import {
  type Consumer,
  type EachBatchPayload,
  type KafkaClient,
  type TopicRules,
  unavailable,
  type WantedTopic,
} from './client.js'
import type { ClusterListener } from './producer.js'
import { type UnpackedRecord, unpack } from './records.js'

export interface KafkaReaderOptions {
  readonly client: KafkaClient
  /** Name of the group, of which this is one member. */
  readonly group: string
  /** Topics to read. */
  readonly topics: readonly string[]
  /** Topics that are made on connecting when they are missing. */
  readonly wanted: readonly WantedTopic[]
  readonly rules: TopicRules
  readonly hubId: string
  readonly sessionMs: number
  /** Returns the time, in microseconds. */
  readonly clock: MicrosecondClock
}

/** Bytes of records that are fetched ahead. Beyond this the next fetch waits. */
const bytesAhead = 32 * 1024 * 1024

/** About the bytes in memory of a record beside key and value. */
const recordOverhead = 500

/** Pause between looks whether there is room, with a sign of life to the group after each. */
const roomMs = 500

/** Shortest time between two commits, which each cost the cluster a write. */
const commitMs = 100

/** A record of a partition. `taken` counts the messages in the record that were delivered. */
interface KafkaParcel {
  readonly place: string
  readonly topic: string
  readonly partition: number
  readonly offset: number
  readonly record: EachBatchPayload['batch']['messages'][number]
  readonly bytes: number
  /** Undefined until the first message of the record is needed. */
  unpacked: UnpackedRecord | undefined
  taken: number
}

/** A member of the group that has joined, or is joining. */
interface Membership {
  readonly consumer: Consumer
  /** Counts how often the partitions were distributed. What was fetched before belongs to another distribution. */
  generation: number
}

/**
 * A member of a consumer group. The group gives each partition to one member, so that the messages of a client have one
 * consumer at a time. The offset of a record is committed when all of its messages are settled: after a crash, or when
 * the partitions are distributed anew, everything behind the last commit comes again, to whoever has the partition then.
 *
 * Records are fetched ahead, up to 32 MB. What is fetched and not delivered when partitions are distributed anew is
 * forgotten. A failure ends the membership. `next` rejects once with that failure, and the call after that joins again.
 */
export class KafkaReader implements QueueReader {
  readonly #options: KafkaReaderOptions
  readonly #listener: ClusterListener
  readonly #wakeup = new Wakeup()
  #joining: Promise<Membership> | undefined
  #failure: unknown
  #arrived: KafkaParcel[] = []
  #held = 0
  /** Offsets that are settled and not committed, by partition. */
  #settled = new Map<string, { readonly topic: string; readonly partition: number; readonly offset: string }>()
  #committing: Promise<void> | undefined
  #isClosed = false

  constructor(options: KafkaReaderOptions, listener: ClusterListener) {
    this.#options = options
    this.#listener = listener
  }

  async next(limit: number, signal: AbortSignal): Promise<Batch | undefined> {
    for (;;) {
      if (signal.aborted) return undefined
      const failure = this.#failure
      this.#failure = undefined
      if (failure !== undefined) throw unavailable(failure)
      this.#joining ??= this.#join()
      const membership = await unlessAborted(this.#joining, signal)
      if (!membership) return undefined
      if (this.#arrived.length > 0) return this.#deliver(membership, limit)
      if (this.#failure === undefined) await this.#wakeup.sleep(signal)
    }
  }

  /** Commits what is settled and leaves the group. */
  async close(): Promise<void> {
    this.#isClosed = true
    const membership = await this.#joining?.catch(() => undefined)
    if (!membership) return
    await this.#committing
    await this.#commit(membership).catch(() => {})
    this.#forget()
    await membership.consumer.disconnect().catch(() => {})
  }

  #deliver(membership: Membership, limit: number): Batch {
    const messages: Message[] = []
    const rejected = new Map<number, Rejection>()
    const done: KafkaParcel[] = []
    let bytes = 0
    let parcels = 0
    for (const parcel of this.#arrived) {
      if (messages.length >= limit) break
      parcel.unpacked ??= this.#unpacked(parcel)
      const { messages: all, rejection } = parcel.unpacked
      if (rejection) rejected.set(messages.length, rejection)
      const end = Math.min(all.length, parcel.taken + limit - messages.length)
      for (let i = parcel.taken; i < end; i++) messages.push(all[i] as Message)
      parcel.taken = end
      if (end < all.length) break
      done.push(parcel)
      bytes += parcel.bytes
      parcels++
    }
    this.#arrived.splice(0, parcels)
    const { generation } = membership
    return {
      messages,
      ...(rejected.size > 0 && { rejected }),
      settle: () => {
        // The partitions may have gone to another member, which gets the messages again.
        if (generation !== membership.generation) return
        this.#held -= bytes
        for (const { place, topic, partition, offset } of done)
          this.#settled.set(place, { topic, partition, offset: String(offset + 1) })
        this.#commitSoon(membership)
      },
    }
  }

  #unpacked({ record, place, offset }: KafkaParcel): UnpackedRecord {
    const { hubId, clock } = this.#options
    return unpack(record, hubId, `${place} ${offset}`, clock.now())
  }

  #commitSoon(membership: Membership): void {
    if (this.#committing || this.#isClosed) return
    const commit = async () => {
      while (this.#settled.size > 0 && !this.#isClosed) {
        await this.#commit(membership).catch(() => {})
        if (!this.#isClosed) await sleep(commitMs)
      }
    }
    this.#committing = commit().finally(() => {
      this.#committing = undefined
    })
  }

  /** Commits once: the next commit covers one that has failed, or else the messages come again and are recognised. */
  async #commit({ consumer }: Membership): Promise<void> {
    const offsets = [...this.#settled.values()]
    this.#settled.clear()
    if (offsets.length > 0) await consumer.commitOffsets(offsets)
  }

  async #join(): Promise<Membership> {
    const { client, group, topics, wanted, rules, sessionMs } = this.#options
    try {
      await client.ensure(wanted, rules)
    } catch (error) {
      this.#joining = undefined
      const failure = unavailable(error)
      this.#listener.onCluster(false, failure.message)
      throw failure
    }
    const consumer = client.consumer(group, sessionMs)
    const membership: Membership = { consumer, generation: 0 }
    const { GROUP_JOIN, CRASH } = consumer.events
    consumer.on(GROUP_JOIN, () => {
      membership.generation++
      this.#forget()
      this.#listener.onCluster(true)
    })
    consumer.on(CRASH, ({ payload }) => this.#lost(payload.error))
    try {
      await client.run(consumer, topics, payload => this.#arrive(membership, payload))
    } catch (error) {
      this.#lost(error)
      await consumer.disconnect().catch(() => {})
      throw unavailable(error)
    }
    return membership
  }

  #lost(error: unknown): void {
    this.#joining = undefined
    this.#forget()
    if (this.#isClosed) return
    this.#failure = error
    this.#listener.onCluster(false, unavailable(error).message)
    this.#wakeup.wake()
  }

  /** Takes the records of one partition. Resolves when there is room for more. */
  async #arrive(membership: Membership, { batch, heartbeat, isRunning }: EachBatchPayload): Promise<void> {
    const { generation } = membership
    const { topic, partition } = batch
    const place = `${topic} ${partition}`
    for (const record of batch.messages) {
      const bytes = (record.value?.length ?? 0) + (record.key?.length ?? 0) + recordOverhead
      this.#arrived.push({
        ...{ place, topic, partition, offset: Number(record.offset), record, bytes },
        ...{ unpacked: undefined, taken: 0 },
      })
      this.#held += bytes
    }
    this.#wakeup.wake()
    while (this.#held > bytesAhead && generation === membership.generation && isRunning() && !this.#isClosed) {
      await sleep(roomMs)
      // Rejects when the partitions are distributed anew, and so ends this.
      await heartbeat()
    }
  }

  #forget(): void {
    this.#arrived = []
    this.#held = 0
    this.#settled.clear()
  }
}
