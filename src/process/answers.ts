import { type DeadLetter, messageId, type Series, seriesKey } from '../model.js'
import type { DeadLetterFilter, DeadLetters } from '../queue/queue.js'
import type { HistoryQuery, TimeSeriesStore } from '../store/store.js'
import type { Balance, Places, SheetLine } from './balance.js'
import type { Dependencies } from './dependencies.js'
import type { Mapping } from './mapping.js'
import type { Registry } from './registry.js'

export interface AnswersOptions {
  readonly store: TimeSeriesStore
  readonly mapping: Mapping
  readonly registry: Registry
  readonly dead: DeadLetters
  readonly balance: Balance
  readonly places: () => Places
  readonly dependencies: Dependencies
}

/** Which lines of the balance sheet are wanted. */
export interface BalanceQuery {
  readonly hours: number
  readonly device: string | undefined
  readonly limit: number
}

/**
 * What the API asks of the processor thread. Answers are JSON bytes, made here so that the broker thread has nothing to
 * do but pass them on; times in milliseconds.
 */
export class Answers {
  readonly #options: AnswersOptions

  constructor(options: AnswersOptions) {
    this.#options = options
  }

  async series(limit: number): Promise<Uint8Array> {
    const { dependencies, store } = this.#options
    const found = await dependencies.ask('store', () => store.series(limit))
    return json({ series: found.map(series => this.#describe(series)) })
  }

  async history(query: HistoryQuery): Promise<Uint8Array> {
    const { dependencies, store } = this.#options
    const { times, values } = await dependencies.ask('store', () => store.history(query))
    return json({ times: times.map(time => time / 1_000), values })
  }

  devices(): Uint8Array {
    const devices = this.#options.registry
      .devices()
      .map(device => ({ ...device, since: device.since / 1_000, lastSeen: device.lastSeen / 1_000 }))
    return json({ devices })
  }

  async dead(filter: DeadLetterFilter, limit: number): Promise<Uint8Array> {
    const letters = await this.#options.dead.list(filter, limit)
    const fitting: DeadLetter[] = []
    let bytes = 0
    for (const letter of letters) {
      bytes += letter.message.payload.length
      // One answer is one text, which has an end.
      if (fitting.length > 0 && bytes > mostAnswered) break
      fitting.push(letter)
    }
    return json({ dead: fitting.map(describeLetter) })
  }

  balance({ hours, device, limit }: BalanceQuery): Uint8Array {
    const { balance, places } = this.#options
    const { since, reasons, ...sheet } = balance.sheet(places())
    return json({
      since: since / 1_000,
      ...sheet,
      reasons: { dead: Object.fromEntries(reasons.dead), refused: Object.fromEntries(reasons.refused) },
      hours: balance.hours(hours).map(inMilliseconds),
      devices: balance.clients(hours, limit, device).map(inMilliseconds),
    })
  }

  #describe(series: Series) {
    const { measurement, tags, field, type, last } = series
    return {
      key: seriesKey(series),
      measurement,
      tags: Object.fromEntries(tags),
      field,
      type,
      unit: this.#options.mapping.unit(measurement, field),
      last: { time: last.time / 1_000, value: last.value },
    }
  }
}

/** Bytes of payloads in one answer. */
const mostAnswered = 64e6

function describeLetter({ message, reason, detail, failedAt, attempts }: DeadLetter) {
  return {
    id: messageId(message),
    reason,
    detail,
    failedAt: failedAt / 1_000,
    attempts,
    topic: message.topic,
    clientId: message.clientId,
    user: message.user,
    qos: message.qos,
    retain: message.retain,
    sequence: message.sequence,
    receivedAt: message.receivedAt / 1_000,
    payload: message.payload.toString('base64'),
  }
}

function inMilliseconds(line: SheetLine): SheetLine {
  return { ...line, hour: line.hour / 1_000 }
}

function json(value: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value))
}
