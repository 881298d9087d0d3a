/** Replaces secrets in a sentence by `***`. */
export function withoutSecrets(sentence: string, secrets: readonly string[]): string {
  let safe = sentence
  // A long secret may contain a short one.
  for (const secret of [...secrets].sort((a, b) => b.length - a.length)) {
    for (const form of new Set([secret, encodeURIComponent(secret), JSON.stringify(secret).slice(1, -1)])) {
      safe = safe.replaceAll(form, '***')
    }
  }
  return safe
}

/** Length from which a part of a URL is kept out of sentences. A shorter one would take words out of them. */
const leastSecret = 6

/** Returns what of a URL must not be shown: path, user and password, and the longer parts of the path. */
export function secretsOf(url: string): readonly string[] {
  const { pathname, search, username, password } = new URL(url)
  const path = `${pathname}${search}`
  return [path, username, password, ...path.split(/[/?&=]/)].filter(part => part.length >= leastSecret)
}
