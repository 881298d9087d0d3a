/** Questions of the page Clients to the hub. */

import type { Answer, Asked } from '../../contract/contract.js'
import { ask } from '../api.js'

export type ClientsAnswer = Answer<'GET /api/clients'>
export type ClientRow = ClientsAnswer['clients'][number]
export type BanList = Answer<'GET /api/bans'>
export type BanAsked = Asked<'POST /api/bans'>
export const sorts = ['name', 'in', 'out', 'queue', 'since'] as const
export type Sort = (typeof sorts)[number]

export function fetchClients(search: string, sort: Sort): Promise<ClientsAnswer> {
  return ask('GET /api/clients', search === '' ? { sort } : { sort, search })
}

export function fetchBans(): Promise<BanList> {
  return ask('GET /api/bans', {})
}

export function disconnect({ clientId: client, user }: ClientRow) {
  return ask('POST /api/clients/disconnect', { client, user })
}

export function endSession({ clientId: client, user }: ClientRow) {
  return ask('DELETE /api/sessions', { client, user })
}

export async function ban(asked: BanAsked): Promise<number> {
  return (await ask('POST /api/bans', asked)).disconnected
}

export function lift(asked: Asked<'POST /api/bans/lift'>) {
  return ask('POST /api/bans/lift', asked)
}
