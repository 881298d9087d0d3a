/*
 * What a run has shown: who got which numbers, what that means, and how it is printed. No server, no clock: the tests
 * feed it with a missing, a doubled and a swapped number.
 */

/** Publisher `publisher` publishes 0, 1, 2 … to one topic, with one QoS. */
export interface Stream {
  readonly publisher: number
  readonly qos: 1 | 2
  readonly topic: string
}

/** Where somebody reads: the store, or a back end behind RabbitMQ. */
export type Place = 'store' | 'back end'

export interface Offence {
  readonly place: Place
  readonly kind: 'lost' | 'duplicate' | 'out of order' | 'unknown'
  readonly publisher: number
  readonly qos: 1 | 2
  readonly n: number
}

/** Offences that are kept in full; past it they are counted. */
const mostOffences = 100

/** Checks the numbers of one stream as a reader gets them. */
export class Sequence {
  /** Numbers read, repeated ones too. */
  read = 0
  /** Different ones among them. */
  distinct = 0
  /** Came again where that is allowed: see `mayRepeat`. */
  repeated = 0
  duplicates = 0
  /** Came for the first time after a greater one. */
  outOfOrder = 0
  /** Not a number this publisher has sent. */
  unknown = 0
  lost = 0
  readonly offences: Offence[] = []
  readonly #place: Place
  readonly #stream: Stream
  readonly #mayRepeat: boolean
  readonly #seen: Uint8Array
  #greatest = -1

  /** `mayRepeat`: QoS 1 in a queue, where a publish that was sent again is another message. */
  constructor(place: Place, stream: Stream, numbers: number, mayRepeat = false) {
    this.#place = place
    this.#stream = stream
    this.#mayRepeat = mayRepeat
    this.#seen = new Uint8Array(numbers)
  }

  /** The next number read. */
  take(n: unknown): void {
    this.read++
    if (!Number.isInteger(n) || (n as number) < 0 || (n as number) >= this.#seen.length) {
      this.unknown++
      this.#offend('unknown', Number(n))
    } else this.#follow(n as number)
  }

  /** Nothing more is read: every number below `acknowledged` had to come. */
  end(acknowledged: number): void {
    for (let n = 0; n < acknowledged; n++) {
      if (this.#seen[n]) continue
      this.lost++
      this.#offend('lost', n)
    }
  }

  #follow(n: number): void {
    if (this.#seen[n]) {
      if (this.#mayRepeat) this.repeated++
      else {
        this.duplicates++
        this.#offend('duplicate', n)
      }
      return
    }
    this.#seen[n] = 1
    this.distinct++
    if (n > this.#greatest) this.#greatest = n
    else {
      this.outOfOrder++
      this.#offend('out of order', n)
    }
  }

  #offend(kind: Offence['kind'], n: number): void {
    const { publisher, qos } = this.#stream
    if (this.offences.length < mostOffences) this.offences.push({ place: this.#place, kind, publisher, qos, n })
  }
}

/** What the publishers of one QoS did. */
export interface Published {
  readonly sent: number
  readonly acknowledged: number
  /** PUBLISH packets with DUP. */
  readonly retransmitted: number
}

export interface Verified {
  readonly read: number
  readonly distinct: number
  readonly repeated: number
  readonly duplicates: number
  readonly outOfOrder: number
  readonly unknown: number
  readonly lost: number
  readonly offences: readonly Offence[]
}

/** All sequences of one place together. */
export function verified(sequences: readonly Sequence[]): Verified {
  const sum = (of: (sequence: Sequence) => number) => sequences.reduce((total, sequence) => total + of(sequence), 0)
  return {
    read: sum(one => one.read),
    distinct: sum(one => one.distinct),
    repeated: sum(one => one.repeated),
    duplicates: sum(one => one.duplicates),
    outOfOrder: sum(one => one.outOfOrder),
    unknown: sum(one => one.unknown),
    lost: sum(one => one.lost),
    offences: sequences.flatMap(({ offences }) => offences).slice(0, mostOffences),
  }
}

/** One line of the hub's own account: see /api/balance. */
export interface Balance {
  readonly received: number
  readonly stored: number
  readonly spool: number
  readonly queue: number
  readonly dead: number
  readonly dropped: number
  readonly refused: number
  readonly residual: number
}

export interface Kill {
  readonly victim: string
  /** Seconds from the begin of the run. */
  readonly at: number
  /** Until it answered again, milliseconds. */
  readonly downMs: number
}

export interface Run {
  readonly seed: number
  readonly queue: string
  readonly store: string
  readonly envelope: 'message' | 'batch'
  readonly publishers: number
  /** By `--messages`; fewer are sent when the run is interrupted. */
  readonly messages: number
  readonly interrupted: boolean
  readonly kills: readonly Kill[]
  readonly qos1: Published
  readonly qos2: Published
  /** Longest from a publish to its acknowledgement, over all reconnects. */
  readonly longestStallMs: number
  readonly durationMs: number
  readonly stored: { readonly qos1: Verified; readonly qos2: Verified }
  /** Null when there is none: without RabbitMQ, and with batches. */
  readonly backEnd: { readonly qos1: Verified; readonly qos2: Verified; readonly redelivered: number } | null
  readonly balance: Balance | 'not available'
  /** What was wrong and is not a number: a server that did not come back, a publisher that was never acknowledged. */
  readonly problems: readonly string[]
}

export interface Report extends Run {
  readonly sent: number
  readonly acknowledged: number
  readonly retransmitted: number
  readonly lost: number
  readonly duplicates: number
  readonly outOfOrder: number
  readonly residual: number | null
  readonly firstOffence: Offence | null
  readonly passed: boolean
}

/** Passed is: nothing lost, doubled or out of order at any reader, all acknowledged, and the hub's account agrees. */
export function report(run: Run): Report {
  const { stored, backEnd, balance, qos1, qos2 } = run
  const all = [stored.qos1, stored.qos2, ...(backEnd ? [backEnd.qos1, backEnd.qos2] : [])]
  const sum = (of: (one: Verified) => number) => all.reduce((total, one) => total + of(one), 0)
  const counts = {
    sent: qos1.sent + qos2.sent,
    acknowledged: qos1.acknowledged + qos2.acknowledged,
    retransmitted: qos1.retransmitted + qos2.retransmitted,
    lost: sum(one => one.lost),
    duplicates: sum(one => one.duplicates),
    outOfOrder: sum(one => one.outOfOrder),
  }
  const residual = balance === 'not available' ? null : balance.residual
  // An account that forgot what it had received would add up too.
  const isAccounted = balance === 'not available' || Math.min(balance.received, balance.stored) >= counts.acknowledged
  const faults = counts.lost + counts.duplicates + counts.outOfOrder + sum(one => one.unknown)
  return {
    ...run,
    ...counts,
    residual,
    firstOffence: all.flatMap(({ offences }) => offences)[0] ?? null,
    passed:
      faults === 0 &&
      (residual ?? 0) === 0 &&
      isAccounted &&
      counts.acknowledged === counts.sent &&
      run.problems.length === 0,
  }
}

/** The report for people. */
export function printed(result: Report): string {
  const { qos1, qos2, stored, backEnd, kills, balance, problems, firstOffence } = result
  const lines: string[] = ['']
  const row = (name: string, ...cells: readonly (number | string)[]) =>
    lines.push(`${name.padEnd(34)}${cells.map(cell => shown(cell).padStart(12)).join('')}`)
  const both = (name: string, of: (published: Published) => number) =>
    row(name, of(qos1), of(qos2), of(qos1) + of(qos2))
  const read = (name: string, from: { qos1: Verified; qos2: Verified }, of: (one: Verified) => number) =>
    row(name, of(from.qos1), of(from.qos2), of(from.qos1) + of(from.qos2))
  row('', 'QoS 1', 'QoS 2', 'all')
  both('sent', one => one.sent)
  both('acknowledged', one => one.acknowledged)
  both('retransmitted', one => one.retransmitted)
  read(`stored in ${result.store}`, stored, one => one.read)
  read('  duplicates', stored, one => one.duplicates)
  read('  lost', stored, one => one.lost)
  row('  out of order', 'by its time', stored.qos2.outOfOrder, stored.qos2.outOfOrder)
  if (backEnd) {
    read('read by a back end from RabbitMQ', backEnd, one => one.distinct)
    row('  redeliveries it removed by id', '', '', backEnd.redelivered)
    row('  sent again and queued again', backEnd.qos1.repeated, 'never', backEnd.qos1.repeated)
    read('  duplicates', backEnd, one => one.duplicates)
    read('  lost', backEnd, one => one.lost)
    read('  out of order', backEnd, one => one.outOfOrder)
  } else if (result.envelope === 'batch') {
    lines.push(
      'No back end read along: with batches telehub.telemetry gets nothing, so the order of QoS 1 is unproven.',
    )
  }
  lines.push('')
  const victims = [...new Set(kills.map(({ victim }) => victim))]
  const times = victims.map(name => `${name} ${kills.filter(({ victim }) => victim === name).length}`)
  lines.push(`killed           ${kills.length === 0 ? 'nobody' : `${kills.length} times: ${times.join(', ')}`}`)
  lines.push(`longest stall    ${(result.longestStallMs / 1_000).toFixed(1)} s from a publish to its acknowledgement`)
  lines.push(`duration         ${(result.durationMs / 1_000).toFixed(1)} s`)
  lines.push(
    `balance          ${
      balance === 'not available'
        ? balance
        : `received ${shown(balance.received)} = stored ${shown(balance.stored)} + spool ${balance.spool} + queue ${balance.queue} + dead ${balance.dead} + dropped ${balance.dropped} + refused ${balance.refused}, residual ${balance.residual}`
    }`,
  )
  lines.push(`seed             ${result.seed}`)
  for (const problem of problems) lines.push(`problem          ${problem}`)
  if (firstOffence) {
    const { kind, publisher, n, place, qos } = firstOffence
    lines.push(`first offence    ${kind}: publisher ${publisher}, n = ${n} (QoS ${qos}, in the ${place})`)
  }
  lines.push('', verdict(result), '')
  return lines.join('\n')
}

function verdict({ passed, interrupted, lost, duplicates, outOfOrder, residual, acknowledged }: Report): string {
  const cut = interrupted ? ' The run was interrupted; this is what it had shown by then.' : ''
  if (passed)
    return `PASSED: ${shown(acknowledged)} acknowledged, 0 lost, 0 duplicates to a reader, 0 out of order.${cut}`
  return `FAILED: ${lost} lost, ${duplicates} duplicates to a reader, ${outOfOrder} out of order, residual ${residual ?? 'not available'}.${cut}`
}

const shown = (cell: number | string) => (typeof cell === 'number' ? cell.toLocaleString('en') : cell)

/** What the progress line shows. */
export interface Progress {
  readonly acknowledged: number
  readonly messages: number
  readonly perSecond: number
  readonly kills: number
  readonly killsWanted: number
  /** Who is killed and not back yet. */
  readonly down: string | undefined
  /** What is done now, when that is not publishing. */
  readonly phase: string | undefined
}

/** One line; with `barWidth` above 0 it begins with a bar. */
export function progressLine(progress: Progress, barWidth: number): string {
  const { acknowledged, messages, perSecond, kills, killsWanted, down, phase } = progress
  const full = messages > 0 ? Math.floor((barWidth * acknowledged) / messages) : 0
  const bar = barWidth > 0 ? `[${'#'.repeat(full)}${'.'.repeat(barWidth - full)}] ` : ''
  const parts = [
    `${shown(acknowledged)}/${shown(messages)} acknowledged`,
    `${shown(Math.round(perSecond))}/s`,
    `kills ${kills}/${killsWanted}`,
    ...(down ? [`down: ${down}`] : []),
    ...(phase ? [phase] : []),
  ]
  return bar + parts.join(' · ')
}
