import type { AlertState, Severity } from '../alerts/transition.js'
import type { WeekSpan } from '../runtime/week-time.js'

/** A target, as the file describes it. */
interface AnyTarget {
  readonly name: string
  /** Most messages in a minute. What is beyond waits, and becomes one message. */
  readonly rate: number
}

export interface PushTargetPlan extends AnyTarget {
  readonly type: 'web-push'
  /** Users whose browsers receive it; empty: all that have subscribed. */
  readonly users: readonly string[]
  /** Whether push services at private addresses are called. */
  readonly private: boolean
}

export interface EmailTargetPlan extends AnyTarget {
  readonly type: 'email'
  readonly host: string
  readonly port: number
  /** `tls`: from the first byte · `starttls`: demanded · `none`: not encrypted. */
  readonly security: 'tls' | 'starttls' | 'none'
  /** Both empty: no login. */
  readonly user: string
  readonly password: string
  readonly from: string
  readonly to: readonly string[]
}

export interface WebhookTargetPlan extends AnyTarget {
  readonly type: 'webhook'
  readonly url: string
  readonly method: 'POST' | 'PUT'
  /** Key of the signature; empty: requests are not signed. */
  readonly secret: string
  readonly headers: Readonly<Record<string, string>>
  readonly contentType: string
  readonly body: string
}

export interface MqttTargetPlan extends AnyTarget {
  readonly type: 'mqtt'
  readonly topic: string
  readonly qos: 0 | 1 | 2
  readonly retain: boolean
  readonly body: string
}

export type TargetPlan = PushTargetPlan | EmailTargetPlan | WebhookTargetPlan | MqttTargetPlan

export interface EscalationStep {
  /** Milliseconds after the alert began to fire, without an acknowledgement. */
  readonly after: number
  readonly to: readonly string[]
}

export interface NotifyRoute {
  readonly severities: readonly Severity[]
  readonly states: readonly AlertState[]
  /** Empty: always. */
  readonly when: readonly WeekSpan[]
  readonly targets: readonly string[]
  /** Milliseconds within which alerts become one message. */
  readonly group: number
  /** Ordered by time. */
  readonly escalate: readonly EscalationStep[]
}

/** Where messages go, and when. */
export interface NotifyPlan {
  /** Address of the dashboard for people, without a slash at the end; empty: unknown. */
  readonly url: string
  /** How a push service reaches who runs this hub: mailto: or https: (RFC 8292 §2.1). */
  readonly contact: string
  readonly zone: string
  readonly targets: ReadonlyMap<string, TargetPlan>
  readonly routes: readonly NotifyRoute[]
  /** Texts that no log, error or answer may show. */
  readonly secrets: readonly string[]
}

export const usualRate = 10

const usualRoute: NotifyRoute = {
  severities: ['warning', 'critical'],
  states: ['firing', 'cleared'],
  when: [],
  targets: ['web-push'],
  group: 5_000,
  escalate: [],
}

/** The plan of a hub without a file: browsers that have subscribed receive warnings and critical alerts. */
export function usualPlan(zone: string): NotifyPlan {
  const target = { name: 'web-push', type: 'web-push', users: [], private: false, rate: usualRate } as const
  return {
    url: '',
    contact: 'https://telehub.invalid',
    zone,
    targets: new Map([[target.name, target]]),
    routes: [usualRoute],
    secrets: [],
  }
}
