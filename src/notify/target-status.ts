import { type Deliveries, type DeliveryOutcome, targetOf } from './deliveries.js'
import type { OutboxState } from './outbox-state.js'
import type { NotifyPlan, NotifyRoute } from './plan.js'
import type { Targets } from './targets.js'

/** A target and how it does, for operators. Times in milliseconds since the epoch. */
export interface TargetStatus {
  readonly target: string
  readonly type: string
  /** Messages that wait, and groups that will become one. */
  readonly waiting: number
  readonly sent: number
  readonly failed: number
  readonly givenUp: number
  /** Why messages cannot be delivered, and since when. */
  readonly trouble?: string
  readonly since?: number
}

/** A route, for operators. Durations in milliseconds; times of the day in minutes. */
export interface RouteStatus {
  readonly severity: NotifyRoute['severities'][number][]
  readonly states: NotifyRoute['states'][number][]
  readonly when: { readonly days: number[]; readonly from: number; readonly to: number }[]
  readonly targets: string[]
  readonly group: number
  readonly escalate: { readonly after: number; readonly to: string[] }[]
}

interface StatusSources {
  readonly state: OutboxState
  readonly plan: NotifyPlan | undefined
  readonly deliveries: Deliveries
  readonly targets: Targets
}

/** Returns each target of the plan, and each for which messages still wait. */
export function statusOf({ state, plan, deliveries, targets }: StatusSources): readonly TargetStatus[] {
  const failing = deliveries.failing()
  const names = new Set([...(plan?.targets.keys() ?? []), ...[...state.mailboxes.keys()].map(targetOf)])
  return [...names].map(target => {
    let waiting = 0
    for (const [address, { messages, group }] of state.mailboxes) {
      if (targetOf(address) === target) waiting += messages.length + (group ? 1 : 0)
    }
    const count = (outcome: DeliveryOutcome) => deliveries.counts.get(`${target} ${outcome}`) ?? 0
    const all = failing.filter(({ address }) => targetOf(address) === target)
    const [first] = all
    // One browser that is gone is no trouble of the target.
    const isTroubled = first && (!first.address.includes('/') || all.length * 2 >= targets.addressesOf(target).length)
    return {
      target,
      type: plan?.targets.get(target)?.type ?? 'removed',
      waiting,
      sent: count('sent'),
      failed: count('failed'),
      givenUp: count('given_up'),
      ...(isTroubled && { trouble: first.detail, ...(first.since > 0 && { since: first.since }) }),
    }
  })
}

/** Returns the routes of a plan. */
export function routesOf({ routes }: NotifyPlan): readonly RouteStatus[] {
  return routes.map(({ severities, states, when, targets, group, escalate }) => ({
    ...{ severity: [...severities], states: [...states], targets: [...targets], group },
    when: when.map(({ days, from, to }) => ({ days: [...days].sort(), from, to })),
    escalate: escalate.map(({ after, to }) => ({ after, to: [...to] })),
  }))
}
