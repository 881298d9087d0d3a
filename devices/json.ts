export function json(value: unknown): string {
  return JSON.stringify(value)
}

/** Returns the members of a JSON object; any other payload is taken as its `state`. */
export function membersOf(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : { state: value }
  } catch {
    return { state: text }
  }
}
