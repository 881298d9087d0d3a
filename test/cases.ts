import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { FieldType, FieldValue } from '../src/model.js'

/*
 * Payloads and situations from public bug reports, as data: test/fixtures/cases/cases.jsonl; and what the documentation of
 * devices and programs says they publish: collected.jsonl beside it. A case has messages and what is expected of the
 * series, the dead letters and the descriptions that they leave in a fresh hub. `{run}` in a text is a word of the run;
 * `@S-120@`, `@ISO+0100-90@` and the like are times relative to now.
 */

export interface CaseMessage {
  readonly topic: string
  readonly payload?: string
  readonly payload_b64?: string
  /** Characters that replace `@FILL@` in the payload. */
  readonly repeat?: number
  readonly retain?: boolean
}

export interface Check {
  readonly check:
    | 'value'
    | 'no_value'
    | 'no_series'
    | 'series_at_most'
    | 'unit'
    | 'unit_not'
    | 'dead'
    | 'no_dead'
    | 'device'
    | 'any'
  readonly topic?: string
  readonly value?: FieldValue
  /** Seconds from now, `received`, or milliseconds since the epoch. */
  readonly at?: number | 'received'
  readonly field?: string
  readonly type?: FieldType
  /** Words in the name of the series. */
  readonly has?: readonly string[]
  readonly n?: number
  readonly unit?: string
  readonly units?: readonly string[]
  /** A device that is described. */
  readonly name?: string
  readonly model?: string
  readonly manufacturer?: string
  readonly version?: string
  readonly reason?: readonly string[]
  readonly of?: readonly (readonly Check[])[]
}

export interface Case extends Partial<CaseMessage> {
  readonly id: string
  readonly kind: string
  /** Messages that come first. */
  readonly before?: readonly CaseMessage[]
  readonly wire?: unknown
  readonly expected: readonly Check[]
}

/** A series as the API lists it; times in milliseconds. */
export interface ShownSeries {
  readonly key: string
  readonly measurement: string
  readonly tags: Readonly<Record<string, string>>
  readonly field: string
  readonly type: FieldType
  readonly unit?: string
  readonly last: { readonly time: number; readonly value: FieldValue }
}

/** A device as discovery describes it. */
export interface ShownDevice {
  readonly name?: string | undefined
  readonly model?: string | undefined
  readonly manufacturer?: string | undefined
  readonly version?: string | undefined
}

/** What a hub shows after the messages were handled. */
export interface Shown {
  readonly series: readonly ShownSeries[]
  readonly dead: readonly { readonly topic: string; readonly reason: string }[]
  readonly described: readonly ShownDevice[]
  history(key: string): Promise<readonly (readonly [timeMs: number, value: FieldValue])[]>
}

/** Returns the cases of messages; those of raw connections are for the tests of the protocol. */
export function readCases(): readonly Case[] {
  const files = ['cases.jsonl', 'collected.jsonl'].map(
    name => new URL(`../../test/fixtures/cases/${name}`, import.meta.url),
  )
  const all = files
    .flatMap(file => readFileSync(fileURLToPath(file), 'utf8').split('\n'))
    .filter(line => line.trim() !== '')
    .map(line => JSON.parse(line) as Case)
  return all.filter(({ wire }) => wire === undefined)
}

/** Returns the messages of a case in their order. */
export function messagesOf({ before = [], ...last }: Case): readonly CaseMessage[] {
  return last.topic === undefined ? before : [...before, last as CaseMessage]
}

/** A run: its word, and the time at which it began, in milliseconds since the epoch. */
export interface Run {
  readonly word: string
  readonly now: number
}

/** Fills in the word of the run and the times. */
export function fill(text: string, { word, now }: Run): string {
  const token = /@([A-Z0-9]+(?:[+-]\d+(?=[+-]))?)([+-]\d+)@/g
  return text.replaceAll('{run}', word).replace(token, (_, kind: string, seconds: string) => {
    const at = now / 1_000 + Number(seconds)
    if (kind === 'S' || kind === 'MS' || kind === 'US') {
      return String(Math.floor(at * { S: 1, MS: 1e3, US: 1e6 }[kind]))
    }
    if (kind === 'ISO') return `${clock(at, 0, 3)}Z`
    if (kind === 'HMS') return clock(at, 0, 0).slice(11)
    const [, name = '', sign = '', offset = ''] = /^(ISO7|ISO|LOCALSP|LOCAL)([+-])(\d+)$/.exec(kind) ?? []
    const size = name.startsWith('LOCAL') ? Number(offset) : Number(offset.slice(0, 2)) * 60 + Number(offset.slice(2))
    const minutes = sign === '-' ? -size : size
    if (name === 'LOCAL') return clock(at, minutes, 0)
    if (name === 'LOCALSP') return clock(at, minutes, 0).replace('T', ' ')
    return clock(at, minutes, name === 'ISO7' ? 7 : 0) + sign + offset
  })
}

function clock(at: number, minutes: number, digits: number): string {
  const text = new Date(Math.floor(at * 1_000) + minutes * 60_000).toISOString()
  return digits === 0 ? text.slice(0, 19) : `${text.slice(0, 19)}.${text.slice(20, 23).padEnd(digits, '0')}`
}

export function payloadOf(message: CaseMessage, run: Run): Buffer {
  if (message.payload_b64 !== undefined) return Buffer.from(message.payload_b64, 'base64')
  return Buffer.from(fill(message.payload ?? '', run).replace('@FILL@', 'x'.repeat(message.repeat ?? 0)))
}

/** Returns a function that asks for each key once. */
export function once<T>(ask: (key: string) => Promise<T>): (key: string) => Promise<T> {
  const known = new Map<string, Promise<T>>()
  return key => {
    const answer = known.get(key) ?? ask(key)
    known.set(key, answer)
    return answer
  }
}

/** Returns why a case fails; empty when all that is expected holds. */
export async function failuresOf(one: Case, run: Run, shown: Shown): Promise<readonly string[]> {
  const failures: string[] = []
  for (const check of one.expected) {
    const failure = await failureOf(check, one, run, shown)
    if (failure !== undefined) failures.push(failure)
  }
  return failures
}

async function failureOf(check: Check, one: Case, run: Run, shown: Shown): Promise<string | undefined> {
  const topic = fill(check.topic ?? one.topic ?? '', run)
  if (check.check === 'any') {
    const reasons: string[] = []
    for (const some of check.of ?? []) {
      const failed = await failuresOf({ ...one, expected: some }, run, shown)
      if (failed.length === 0) return undefined
      reasons.push(failed.join('; '))
    }
    return reasons.join(' / ')
  }
  if (check.check === 'dead' || check.check === 'no_dead') {
    const topics = [
      topic,
      ...(check.topic === undefined ? messagesOf(one).map(message => fill(message.topic, run)) : []),
    ]
    const of = check.check === 'dead' ? [topic] : topics
    const found = shown.dead.filter(letter => of.includes(letter.topic)).map(({ reason }) => reason)
    if (check.check === 'no_dead') return found.length === 0 ? undefined : `dead letters: ${found}`
    return found.some(reason => check.reason?.includes(reason)) ? undefined : `no dead letter ${check.reason}: ${found}`
  }
  if (check.check === 'device') return deviceFailure(check, run, shown)
  const some = shown.series.filter(series => isOf(series, topic) && isMeant(series, check, run))
  const named = some.map(({ field, type }) => `${field} (${type})`).slice(0, 3)
  if (check.check === 'series_at_most')
    return some.length <= (check.n ?? 0) ? undefined : `${some.length} series: ${named}`
  if (check.check === 'no_series') return some.length === 0 ? undefined : `series ${named}`
  if (check.check === 'unit') {
    const found = some.map(({ field, unit }) => `${field} in ${unit}`)
    return some.length > 0 && some.every(({ unit }) => unit === check.unit)
      ? undefined
      : `not in ${check.unit}: ${found.slice(0, 3)}`
  }
  if (check.check === 'unit_not') {
    const wrong = some.filter(({ unit }) => unit !== undefined && check.units?.includes(unit))
    return wrong.length === 0 ? undefined : wrong.map(({ field, unit }) => `${field} in ${unit}`).join(', ')
  }
  const seen: unknown[] = []
  for (const { key, field } of some) {
    for (const [time, value] of await shown.history(key)) {
      seen.push(`${field}: ${JSON.stringify(value)} at ${Math.round((time - run.now) / 1_000)} s`)
      if (!isEqual(value, check.value as FieldValue) || !isAt(time, check.at, run)) continue
      return check.check === 'value' ? undefined : `${check.value} is in ${key}`
    }
  }
  return check.check === 'no_value' ? undefined : `no ${check.value} at ${check.at} of ${topic}: ${seen.slice(-4)}`
}

function deviceFailure({ name, model, manufacturer, version }: Check, run: Run, { described }: Shown) {
  const named = described.find(device => device.name === fill(name ?? '', run))
  if (!named) return `no device ${name}`
  const wanted = { model, manufacturer, version }
  const wrong = (['model', 'manufacturer', 'version'] as const).filter(
    member => wanted[member] !== undefined && wanted[member] !== named[member],
  )
  return wrong.length === 0 ? undefined : wrong.map(member => `${member} is ${named[member]}`).join(', ')
}

/** Whether a series is one of a topic: tagged with it, or named by all of its levels. */
function isOf({ measurement, tags, field }: ShownSeries, topic: string): boolean {
  if (tags.topic === topic) return true
  const words = [measurement, field, ...Object.values(tags)].flatMap(word => [word, ...word.split(/[/.]/)])
  return topic
    .split('/')
    .filter(Boolean)
    .every(level => words.includes(level))
}

function isMeant({ key, field, type }: ShownSeries, check: Check, run: Run): boolean {
  if (!new RegExp(check.field ?? '').test(field) || (check.type !== undefined && check.type !== type)) return false
  return (check.has ?? []).every(word => key.toLowerCase().includes(fill(word, run).toLowerCase()))
}

function isEqual(a: FieldValue, b: FieldValue): boolean {
  if (typeof a === 'number' && typeof b === 'number') return Math.abs(a - b) <= 1e-9 * Math.max(1, Math.abs(b))
  return a === b || (typeof b === 'boolean' && typeof a === 'number' && a === Number(b))
}

function isAt(time: number, at: Check['at'], { now }: Run): boolean {
  if (at === undefined) return true
  if (at === 'received') return time - now >= -2_000 && time - now <= 30_000
  const wanted = Math.abs(at) < 1e9 ? now + at * 1_000 : at
  return Math.abs(time - wanted) <= 1_600
}
