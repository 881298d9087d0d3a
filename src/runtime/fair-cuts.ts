import { shareOf, type UserShares } from './user-shares.js'

/**
 * Returns how much each account of a full pool has to give up so that `needed` becomes free in all. The accounts that
 * use most for their share give, down to one level that is the same for all of them. Accounts below that level keep
 * everything and are left out.
 */
export function fairCuts(
  used: ReadonlyMap<string, number>,
  shares: UserShares,
  needed: number,
): ReadonlyMap<string, number> {
  const accounts = [...used]
    .map(([account, amount]) => ({ account, amount, share: shareOf(shares, account) }))
    .sort((a, b) => b.amount / b.share - a.amount / a.share)
  const cuts = new Map<string, number>()
  let [amounts, shareOfAll, level] = [0, 0, -Infinity]
  for (const { amount, share } of accounts) {
    // The accounts before this one free enough by going down to a level that this one is already below.
    if (amount / share <= level) break
    amounts += amount
    shareOfAll += share
    level = (amounts - needed) / shareOfAll
  }
  for (const { account, amount, share } of accounts) {
    const cut = amount - Math.max(0, level) * share
    if (cut > 0) cuts.set(account, cut)
  }
  return cuts
}
