import type { Reader, ReadRules } from '../access/rules.js'
import { type AlertTransition, severities } from '../alerts/transition.js'
import { WeekTime } from '../runtime/week-time.js'
import { type AlertLine, lineOf } from './message.js'
import type { Escalation, OutboxEntry } from './outbox-state.js'
import type { NotifyPlan, NotifyRoute } from './plan.js'
import type { KnownSubscription } from './subscriptions.js'

/** Decides whether an alert may be read: its series, the presence of its device, or the state of the hub. */
export interface AlertAccess {
  mayRead(alert: Pick<AlertTransition, 'rule' | 'series' | 'device'>, rules: ReadRules): boolean
}

export interface Audience {
  readonly plan: NotifyPlan
  readonly subscriptions: { of(users?: readonly string[]): readonly KnownSubscription[] }
  readonly readers: ReadonlyMap<string, Reader>
  readonly access: AlertAccess
}

/** Milliseconds within which alerts of rules that name targets become one message. */
const ownGroup = 5_000

/** Most alerts that are watched for an acknowledgement. */
export const maxWatched = 10_000

type Handled = Extract<OutboxEntry, { readonly is: 'handled' }>
type Additions = Map<string, { lines: number[]; due: number }>

/**
 * Returns what becomes of transitions: the lines for each receiver, and the alerts to be watched for escalation. Past and
 * muted ones are handled and sent to nobody.
 *
 * `missing`: names of targets that rules name and the file does not have, with one of the rules.
 *
 * @param now Milliseconds since the epoch.
 * @param room Alerts that may be watched in addition; of others the number is in `unwatched`.
 */
export function routed(
  transitions: readonly AlertTransition[],
  audience: Audience,
  now: number,
  room: number,
): { readonly entry: Handled; readonly unwatched: number; readonly missing: ReadonlyMap<string, string> } {
  const lines: AlertLine[] = []
  const additions: Additions = new Map()
  const watch = new Map<string, Escalation>()
  const settle = new Set<string>()
  const week = new WeekTime(audience.plan.zone)
  const isOn = audience.plan.routes.map(({ when }) => when.length === 0 || week.isWithin(when, now * 1_000))
  let unwatched = 0
  const missing = new Map<string, string>()
  for (const transition of transitions) {
    const { alert, state, severity, past, muted } = transition
    if (state === 'acknowledged' || state === 'cleared') {
      settle.add(alert)
      for (const key of watch.keys()) if (key.startsWith(`${alert} `)) watch.delete(key)
    }
    if (past || muted || state === 'pending') continue
    let index = -1
    const line = () => {
      if (index < 0) index = lines.push(lineOf(transition)) - 1
      return index
    }
    const own = ownRoute(transition.notify)
    for (const name of own?.targets ?? []) if (!audience.plan.targets.has(name)) missing.set(name, transition.rule)
    if (own?.states.includes(state)) addTo(additions, own, line, transition, audience, now)
    for (const [i, route] of audience.plan.routes.entries()) {
      if (!isOn[i] || !route.severities.includes(severity)) continue
      if (route.states.includes(state)) addTo(additions, route, line, transition, audience, now)
      if (state !== 'firing' || route.escalate.length === 0) continue
      if (watch.size >= room) unwatched++
      else watch.set(`${alert} ${i}`, { line: lineOf(transition), since: now, steps: route.escalate })
    }
  }
  const entry = {
    is: 'handled',
    upTo: transitions.at(-1)?.sequence ?? 0,
    lines,
    add: additionsOf(additions),
    watch: [...watch].map(([key, escalation]) => ({ key, escalation })),
    settle: [...settle],
  } as const
  return { entry, unwatched, missing }
}

/** Returns the route to the targets that a rule names: at any time, when an alert fires and when it is over. */
function ownRoute(targets: readonly string[] | undefined): NotifyRoute | undefined {
  if (!targets || targets.length === 0) return undefined
  return { severities, states: ['firing', 'cleared'], when: [], targets, group: ownGroup, escalate: [] }
}

/** Returns the entry for the next step of an escalation, which is sent at once. */
export function escalated(key: string, escalation: Escalation, audience: Audience, now: number): OutboxEntry {
  const { line, steps } = escalation
  const [step] = steps
  const additions: Additions = new Map()
  const receivers = step ? receiversOf(step.to, line, audience) : []
  for (const to of receivers) additions.set(to, { lines: [0], due: now })
  return { is: 'escalated', key, lines: [{ ...line, overdue: step?.after ?? 0 }], add: additionsOf(additions) }
}

function additionsOf(additions: Additions) {
  return [...additions].map(([to, { lines, due }]) => ({ to, lines, due }))
}

function addTo(
  additions: Additions,
  route: NotifyRoute,
  line: () => number,
  transition: AlertTransition,
  audience: Audience,
  now: number,
): void {
  for (const to of receiversOf(route.targets, transition, audience)) {
    const known = additions.get(to)
    const due = now + route.group
    const index = line()
    if (!known) additions.set(to, { lines: [index], due })
    else {
      // Two routes that lead to one target are one message.
      if (known.lines.at(-1) !== index) known.lines.push(index)
      known.due = Math.min(known.due, due)
    }
  }
}

/** Returns the addresses behind targets: browsers of users who may read the alert, and the other targets themselves. */
function receiversOf(
  targets: readonly string[],
  alert: Pick<AlertTransition, 'rule' | 'series' | 'device'>,
  { plan, subscriptions, readers, access }: Audience,
): readonly string[] {
  return targets.flatMap(name => {
    const target = plan.targets.get(name)
    if (!target) return []
    if (target.type !== 'web-push') return [name]
    const browsers = subscriptions.of(target.users.length > 0 ? target.users : undefined)
    const readable = browsers.filter(({ user }) => {
      const reader = readers.get(user)
      return reader?.isKnown && (!reader.rules || access.mayRead(alert, reader.rules))
    })
    return readable.map(({ id }) => `${name}/${id}`)
  })
}
