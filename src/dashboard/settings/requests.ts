/** Questions of the page Settings to the hub. */

import type { Answer, Asked } from '../../contract/contract.js'
import { ask, askMatching } from '../api.js'

export type UserList = Answer<'GET /api/users'>
export type UserRow = UserList['users'][number]
export type Kind = UserRow['kind']
export const kinds = ['device', 'dashboard', 'service', 'admin'] as const
export type NewUser = Asked<'POST /api/users'>
export type Explanation = Answer<'GET /api/explain'>
export type Explained = Asked<'GET /api/explain'>
export const actions = ['publish', 'subscribe', 'read'] as const
export type AuditAnswer = Answer<'GET /api/audit'>
export type AuditLine = AuditAnswer['lines'][number]
export type AuditAsked = Asked<'GET /api/audit'>
export type SettingsAnswer = Answer<'GET /api/settings'>
export type SettingRow = SettingsAnswer['settings'][number]
export type CertificateAnswer = Answer<'GET /api/certificate'>
export type NotifyAnswer = Answer<'GET /api/notify'>

export const fetchUsers = (search: string, after?: string) => ask('GET /api/users', { search, after })
export const fetchAllUsers = () => ask('GET /api/users', { limit: 1_000 })
export const fetchUser = async (name: string) => (await ask('GET /api/users', { name })).users[0]

// Changes are refused with status 412 when the users file is of another version by now.
export const addUser = (user: NewUser, version: string) => askMatching('POST /api/users', user, version)
export const newPassword = (name: string, scram: boolean, version: string) =>
  askMatching('POST /api/users/password', { name, scram }, version)
export const changeRules = (asked: Asked<'POST /api/users/rules'>, version: string) =>
  askMatching('POST /api/users/rules', asked, version)
export const removeUser = (name: string, version: string) => askMatching('DELETE /api/users', { name }, version)
export const addKey = (name: string, label: string, version: string) =>
  askMatching('POST /api/users/keys', { name, label }, version)
export const endKey = (name: string, id: string, version: string) =>
  askMatching('DELETE /api/users/keys', { name, id }, version)
export const makePairing = (name: string) => ask('POST /api/users/pairing', { name })

export const fetchExplanation = (asked: Explained) => ask('GET /api/explain', asked)
export const fetchAudit = (asked: AuditAsked) => ask('GET /api/audit', asked)
export const fetchSettings = () => ask('GET /api/settings', {})
export const fetchCertificate = () => ask('GET /api/certificate', {})
export const fetchNotify = () => ask('GET /api/notify', {})
export const testTarget = (target: string) => ask('POST /api/notify/test', { target })
export type StoreAnswer = Answer<'GET /api/store'>
export const fetchStore = (keep?: string) => ask('GET /api/store', { keep })
export type NoiseAnswer = Answer<'GET /api/noise'>
export type NoisySeries = NoiseAnswer['rows'][number]
/** The hub goes through the readings of a day, and starts its processor thread anew for a change. */
const patienceMs = 60_000
export const fetchNoise = () => ask('GET /api/noise', {}, AbortSignal.timeout(patienceMs))
export const storeLess = (series: string, deadband: number) =>
  ask('POST /api/noise/fix', { series: [series], deadband }, AbortSignal.timeout(patienceMs))
export const undoMapping = (revision: string) =>
  askMatching('POST /api/mapping/undo', {}, revision, AbortSignal.timeout(patienceMs))
export const fetchMapping = () => ask('GET /api/mapping', {})
