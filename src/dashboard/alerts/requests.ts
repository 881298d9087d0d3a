/** Questions of the page Alerts to the hub. */

import type { Answer, Asked } from '../../contract/contract.js'
import { ask } from '../api.js'

export type Listed = Answer<'GET /api/alerts'>
export type AlertRow = Listed['alerts'][number]
export type MuteRow = Listed['mutes'][number]
export type RuleList = Answer<'GET /api/alerts/rules'>
export type RuleRow = RuleList['rules'][number]
export type RuleCheck = Answer<'POST /api/alerts/check'>
export type SelectedSeries = RuleCheck['selected'][number]
export type BackTest = Answer<'POST /api/alerts/test'>
export type Notify = Answer<'GET /api/notify'>
export type NotifyTarget = Notify['targets'][number]
export type NotifyRoute = Notify['routes'][number]

/** Most alerts that the page asks for. */
export const mostAlerts = 1_000
/** Longest time that a back-test of many readings may take. */
const testWithin = 60_000

export function fetchNow(): Promise<Listed> {
  return ask('GET /api/alerts', { limit: mostAlerts })
}

export function fetchPast(asked: Pick<Asked<'GET /api/alerts'>, 'from' | 'to' | 'rule' | 'device'>): Promise<Listed> {
  return ask('GET /api/alerts', { ...asked, state: 'all', limit: mostAlerts })
}

export function fetchRules(): Promise<RuleList> {
  return ask('GET /api/alerts/rules', {})
}

export function checkRule(rule: object, signal: AbortSignal): Promise<RuleCheck> {
  return ask('POST /api/alerts/check', { rule }, signal)
}

export function testRule(rule: object, from: number, to: number, signal: AbortSignal): Promise<BackTest> {
  const within = AbortSignal.any([signal, AbortSignal.timeout(testWithin)])
  return ask('POST /api/alerts/test', { rule, from, to }, within)
}

export function saveRule(name: string, rule: object): Promise<RuleRow> {
  return ask('POST /api/alerts/rules', { name, rule })
}

export function deleteRule(name: string) {
  return ask('DELETE /api/alerts/rules', { name })
}

export function unmute(id: string) {
  return ask('POST /api/alerts/unmute', { id })
}

export function fetchNotify(): Promise<Notify> {
  return ask('GET /api/notify', {})
}

export function testTarget(target: string) {
  return ask('POST /api/notify/test', { target }, AbortSignal.timeout(30_000))
}

type Devices = Answer<'GET /api/home'>['devices']

/** Fetches the devices that have values whose names contain all words, with these values only. */
export async function findValues(search: string, limit: number): Promise<Devices> {
  return (await ask('GET /api/home', { search, values: 'all', limit })).devices
}

/** Fetches the device of a series, with the value of that series only. */
export async function findSeries(series: string): Promise<Devices> {
  return (await ask('GET /api/home', { series, values: 'all', limit: 1 })).devices
}
