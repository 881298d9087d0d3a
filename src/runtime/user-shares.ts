/** The part of a shared pool that each user is sure of. Plain data, so that one thread can send it to another. */
export interface UserShares {
  /** Authentication is off: all clients are one user, whatever name they give. */
  readonly isOpen: boolean
  /** The share of a user without one in the users file, as a fraction of 1. */
  readonly usual: number
  /** The shares set in the users file by user, as fractions of 1. */
  readonly own: ReadonlyMap<string, number>
}

/** The name under which use of pools is counted; empty for the hub, and for all clients where authentication is off. */
export function accountOf({ isOpen }: UserShares, user: string): string {
  return isOpen ? '' : user
}

/** The share of an account, as a fraction of 1. Names that are not in the users file have the usual share. */
export function shareOf({ usual, own }: UserShares, account: string): number {
  return account === '' ? 1 : (own.get(account) ?? usual)
}

/** Shares where authentication is off: every client may take everything. */
const unshared: UserShares = { isOpen: true, usual: 1, own: new Map() }

/** Knows the shares as they are now: they change with the users file. */
export interface Sharing {
  readonly shares: UserShares
}

/** All clients are one user, for whom everything is. */
export const unsharing: Sharing = { shares: unshared }
