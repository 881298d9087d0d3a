import type { SeriesId } from '../model.js'
import type { AlertRecord } from './alert-journal.js'
import type { AlertEvaluator } from './evaluator.js'
import type { AlertSubject, Watch, WatchState } from './watch.js'

/** Part of an alert's first transition by which the alert goes on after a start. */
interface KeptSubject {
  readonly subject: AlertSubject
  readonly since: number
  readonly id?: SeriesId
}

/**
 * Brings the watches to the state of the journal, which is ahead of their own file after a crash.
 * @param saved Sequence number of the last message in that file
 */
export function adoptJournal(
  evaluator: AlertEvaluator,
  { alerts }: { readonly alerts: ReadonlyMap<string, AlertRecord> },
  saved: number,
): void {
  const { machine } = evaluator
  for (const watch of [...evaluator.watches()]) {
    if (watch.state === 'idle') continue
    const record = alerts.get(watch.alert)
    if (record?.decided === 'cleared') setState(watch, 'idle', record)
    else watch.told = record ? toldOf(record) : 'idle'
    machine.restored(watch)
  }
  for (const record of alerts.values()) {
    // An alert that began and ended since is not to be decided once more.
    if (record.decided === 'cleared' && record.position <= saved) continue
    const last = record.transitions.at(-1)
    const kept = record.subject as KeptSubject | undefined
    if (!last || !kept) continue
    let watch = evaluator.watchOf(last.rule, last.series)
    if (watch) noteTaken(watch, record, kept)
    if (watch?.alert === last.alert && watch.state !== 'idle' && watch.told === watch.state) continue
    const before = { position: record.position, lastSince: kept.since }
    watch ??= evaluator.restore(last.rule, kept.subject, before, kept.id)
    if (!watch || record.decided === 'cleared') continue
    const state = toldOf(record)
    setState(watch, state, record)
    Object.assign(watch, { alert: last.alert, since: kept.since, told: state, points: [...record.points] })
    if (last.value !== undefined && watch.value === undefined) watch.value = last.value
    machine.restored(watch)
  }
}

function noteTaken(watch: Watch, { position }: AlertRecord, { since }: KeptSubject): void {
  watch.takenTo = Math.max(watch.takenTo, position)
  watch.lastSince = Math.max(watch.lastSince, since)
}

function toldOf({ decided }: AlertRecord): WatchState {
  return decided === 'pending' ? 'pending' : decided === 'cleared' ? 'idle' : 'firing'
}

function setState(watch: Watch, state: WatchState, record: AlertRecord): void {
  watch.state = state
  watch.told = state
  watch.takenTo = Math.max(watch.takenTo, record.position)
  if (state !== 'idle') return
  watch.alert = ''
  watch.points = []
}
