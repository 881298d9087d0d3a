/** Smallest share of common pairs of letters of a typing mistake. Half is a perfect match. */
const enough = 0.25

/**
 * Returns the candidate that is meant by a mistyped word: the one with at most two letters wrong, missing, extra or
 * swapped, otherwise the one that has the most pairs of letters in common. Undefined when none is close.
 */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  const given = word.toLowerCase()
  const [closest] = candidates.map(name => ({ name, score: distance(given, name.toLowerCase()) })).sort(ascending)
  if (closest && closest.score <= 2 && closest.score * 2 < word.length) return closest.name
  const wanted = pairs(given)
  const common = (name: string) => [...pairs(name.toLowerCase())].filter(pair => wanted.has(pair)).length
  const shared = candidates.map(name => ({ name, score: -common(name) / (name.length + word.length) })).sort(ascending)
  return shared[0] && -shared[0].score >= enough ? shared[0].name : undefined
}

const ascending = (a: { readonly score: number }, b: { readonly score: number }) => a.score - b.score

function pairs(text: string): ReadonlySet<string> {
  return new Set([...text].map((char, i, all) => char + (all[i + 1] ?? '')))
}

/** Returns the number of letters to change, add, remove or swap with the next (optimal string alignment). */
function distance(one: string, other: string): number {
  let last: number[] = []
  let row = Array.from({ length: other.length + 1 }, (_, j) => j)
  for (let i = 1; i <= one.length; i++) {
    const next = [i]
    for (let j = 1; j <= other.length; j++) {
      const isSame = one[i - 1] === other[j - 1]
      const swapped = i > 1 && j > 1 && one[i - 1] === other[j - 2] && one[i - 2] === other[j - 1]
      next[j] = Math.min(
        (row[j] as number) + 1,
        (next[j - 1] as number) + 1,
        (row[j - 1] as number) + (isSame ? 0 : 1),
        ...(swapped ? [(last[j - 2] as number) + 1] : []),
      )
    }
    last = row
    row = next
  }
  return row[other.length] as number
}
