/**
 * How much of a pool that all users share each of them is sure of. Plain data, so that one thread can send it to
 * another.
 */
export interface UserShares {
  /** Nobody is asked for a name: all clients are one user, whatever name they give. */
  readonly isOpen: boolean
  /** Of a user without a share of its own, as a fraction of 1. */
  readonly usual: number
  /** Of the users that have one in the users file, as fractions of 1. */
  readonly own: ReadonlyMap<string, number>
}

/** The name under which the use of pools is counted; empty for the hub itself, and for everybody where nobody is asked. */
export function accountOf({ isOpen }: UserShares, user: string): string {
  return isOpen ? '' : user
}

/** The share of an account, as a fraction of 1. Names that are not in the users file have the usual one. */
export function shareOf({ usual, own }: UserShares, account: string): number {
  return account === '' ? 1 : (own.get(account) ?? usual)
}

/** Nobody is asked, and everything is for everybody. */
export const unshared: UserShares = { isOpen: true, usual: 1, own: new Map() }
