import type { ReadRules } from '../access/rules.js'
import type { Alerts, AlertsQuery, BackTestQuery } from '../alerts/alerts.js'
import { type Answer, encodeJson, type Json } from '../contract/contract.js'
import type { Alarm } from '../observe/alarms.js'

/** Questions about alerts, with one argument each that can be sent to another thread. */
export interface AlertsApi {
  alerts(query: AlertsQuery): Promise<Json<Answer<'GET /api/alerts'>>>
  acknowledge(which: {
    readonly alert: string
    readonly by: string
    readonly note: string | undefined
    /** Rules for what the caller may read. Undefined: everything. */
    readonly rules: ReadRules | undefined
  }): Promise<Answer<'POST /api/alerts/ack'>>
  muteAlerts(mute: Parameters<Alerts['desk']['mute']>[0]): Promise<Answer<'POST /api/alerts/mute'>>
  unmuteAlerts(id: string): Promise<Answer<'POST /api/alerts/unmute'>>
  alertRules(): Promise<Json<Answer<'GET /api/alerts/rules'>>>
  putAlertRule(rule: { readonly name: string; readonly rule: unknown }): Promise<Answer<'POST /api/alerts/rules'>>
  removeAlertRule(name: string): Promise<void>
  checkAlertRule(rule: {
    readonly name?: string | undefined
    readonly rule: unknown
  }): Promise<Answer<'POST /api/alerts/check'>>
  testAlertRule(query: BackTestQuery): Promise<Json<Answer<'POST /api/alerts/test'>>>
}

/** Returns the answers of the processor thread to questions about alerts. */
export function alertOffers(alerts: () => Alerts) {
  return {
    alerts: (query: AlertsQuery) => encodeJson(alerts().desk.list(query)),
    acknowledge: async ({ alert, by, note, rules }: Parameters<AlertsApi['acknowledge']>[0]) => {
      alerts().desk.check(alert, rules)
      const { state, at } = await alerts().desk.acknowledge(alert, by, note)
      return { alert, state, at: at / 1_000, by }
    },
    muteAlerts: (mute: Parameters<AlertsApi['muteAlerts']>[0]) => alerts().desk.mute(mute),
    unmuteAlerts: (id: string) => alerts().desk.unmute(id),
    alertRules: () => encodeJson(alerts().desk.rules()),
    putAlertRule: ({ name, rule }: Parameters<AlertsApi['putAlertRule']>[0]) => alerts().desk.putRule(name, rule),
    removeAlertRule: (name: string) => alerts().desk.removeRule(name),
    checkAlertRule: ({ name, rule }: Parameters<AlertsApi['checkAlertRule']>[0]) => alerts().desk.checkRule(name, rule),
    testAlertRule: async (query: BackTestQuery) => encodeJson(await alerts().desk.test(query)),
    alarms: (raised: readonly Alarm[]) => alerts().hubAlarms(raised),
  }
}
