/** Value of a reading. */
export type FieldValue = number | boolean | string

/**
 * Whether the time of a reading can be trusted. `good`: the device's own time, or received at once. `late`: much older
 * than its receipt, for instance buffered by the device. `clock`: the device's clock is wrong, the time is that of the
 * receipt. `absent`: the device says that there is no value.
 */
export type Quality = 'good' | 'late' | 'clock' | 'absent'

/** Newest value of one series in a reading. */
export interface SeriesValue {
  /** Key of the series, as `Hub.history` takes. */
  readonly series: string
  readonly measurement: string
  readonly tags: Readonly<Record<string, string>>
  readonly field: string
  readonly value: FieldValue
  readonly unit?: string
  /** Milliseconds since the epoch; left out where equal to that of the reading. */
  readonly time?: number
  /** Other values of the series in the same message, in the order of the message. Times in milliseconds. */
  readonly earlier?: { readonly times: readonly number[]; readonly values: readonly FieldValue[] }
}

/** Why the newest message of a topic was not stored as sent. */
export interface RefusedReading {
  readonly reason: string
  readonly detail: string
  readonly fields?: readonly string[]
}

/** Reading of one topic, as in `$hub/last/{topic}`. Times in milliseconds since the epoch. */
export interface Reading {
  readonly topic: string
  readonly time: number
  /** When the hub received the message, by the clock of the hub. */
  readonly received: number
  readonly quality: Quality
  /** By how much the clock of the device is wrong, in milliseconds; negative when behind. */
  readonly clockError?: number
  /** Keys of the series for which the device says that there is no value. */
  readonly absent?: readonly string[]
  readonly refused?: RefusedReading
  readonly values: readonly SeriesValue[]
}

/** Reading that came live, with the sequence number of its message. */
export interface LiveReading extends Reading {
  readonly sequence: number
}

/** Topic that has no newest reading any more: its retained message was cleared, or its device removed. */
export interface Cleared {
  readonly topic: string
  /** Sequence number of the last message that came before, or that cleared the topic. */
  readonly sequence: number
  /** Milliseconds since the epoch, by the clock of the hub. */
  readonly received: number
}

/** History of one series in columns, oldest first. Times in milliseconds since the epoch. */
export interface SeriesHistory {
  readonly series: string
  readonly topic?: string
  readonly measurement: string
  readonly tags: Readonly<Record<string, string>>
  readonly field: string
  readonly type: 'number' | 'boolean' | 'text'
  readonly unit?: string
  /** Range of the history in milliseconds; where it has more than `points` readings these are windows of equal width. */
  readonly from: number
  readonly to: number
  /** A long history comes in `parts`, of which this is number `part`, counted from 1. */
  readonly part?: number
  readonly parts?: number
  readonly times: readonly number[]
  readonly values: readonly FieldValue[]
}

/** Messages or history that the hub cannot deliver any more. */
export interface Gap {
  /**
   * `too_old`: the hub does not keep these messages any longer. `unknown`: the hub has lost its data, or is another one.
   * `not_stored_yet`: the messages are neither in the history nor at hand. Others may come.
   */
  readonly reason: string
  /** First and last sequence number, where known. */
  readonly from?: number
  readonly to?: number
  readonly message?: string
}

/** How far this receiver is behind. */
export interface Behind {
  /** Milliseconds. */
  readonly behind: number
  /** Readings that a newer one of their topic has replaced. */
  readonly merged: number
  /** Readings that are gone without a newer one. */
  readonly dropped: number
}

/** One event of a feed. */
export type FeedEvent =
  /** The feed begins anew: what was shown before is replaced by what follows. */
  | { readonly kind: 'start' }
  | { readonly kind: 'values'; readonly data: Reading }
  | { readonly kind: 'history'; readonly data: SeriesHistory }
  /** Newest values and history are complete. */
  | { readonly kind: 'ready'; readonly data: Ready }
  | { readonly kind: 'live'; readonly data: LiveReading }
  | { readonly kind: 'cleared'; readonly data: Cleared }
  | { readonly kind: 'gap'; readonly data: Gap }
  | { readonly kind: 'behind'; readonly data: Behind }
  | { readonly kind: 'caught_up'; readonly data: Behind }

/** End of the beginning of a feed. */
export interface Ready {
  /** Sequence number up to which everything was delivered. */
  readonly sequence: number
  /** Number of series with history. */
  readonly series: number
  /** More series match than one feed has. */
  readonly truncated?: boolean
}

/** Series as in `GET /api/series`. */
export interface SeriesRow {
  readonly key: string
  readonly measurement: string
  readonly tags: Readonly<Record<string, string>>
  readonly field: string
  readonly type: 'number' | 'boolean' | 'text'
  readonly unit?: string
  readonly cleared?: true
  readonly last: { readonly time: number; readonly value: FieldValue }
}

/** Message to publish. */
export interface PublishMessage {
  readonly topic: string
  /** A text and bytes are published as they are, any other value as its JSON text. */
  readonly payload: unknown
  /** How the message goes to subscribers; 1 by default. */
  readonly qos?: 0 | 1 | 2
  readonly retain?: boolean
  readonly contentType?: string
  readonly responseTopic?: string
  /** Base64. */
  readonly correlationData?: string
  /** Seconds. */
  readonly messageExpiry?: number
  readonly userProperties?: Readonly<Record<string, string>> | readonly (readonly [string, string])[]
}

/** Retained message of `$hub/presence/{client}`. */
export interface PresenceMessage {
  readonly clientId: string
  readonly user: string
  readonly online: boolean
  /** Milliseconds since the epoch. */
  readonly since: number
}

/** Retained message of `$hub/why/{client}`: the newest refusal of a client. */
export interface WhyMessage {
  readonly clientId: string
  readonly user: string
  readonly action: 'connect' | 'publish' | 'subscribe' | 'receive'
  readonly topic: string
  readonly reason: string
  /** Milliseconds since the epoch. */
  readonly time: number
}
