/**
 * Returns a word of a state as readings have it: the words for yes and no are booleans there, and numbers are numbers.
 */
export function valueShown(word: string): string | boolean | number {
  const lower = word.toLowerCase()
  if (lower === 'on' || lower === 'true' || lower === 'yes') return true
  if (lower === 'off' || lower === 'false' || lower === 'no') return false
  return /^-?(?:0|[1-9]\d*)(?:\.\d+)?$/.test(word) ? Number(word) : word
}
