/** A topic pattern of a preset, compiled. */
export interface PresetPattern {
  /** Returns the named levels of a topic that matches. Undefined when the topic does not match. */
  match(topic: string): Readonly<Record<string, string>> | undefined
}

/** Compiles the topic pattern of a {@link PresetTopic}. */
export function compilePattern(text: string): PresetPattern {
  let source = ''
  for (const [i, level] of text.split('/').entries()) {
    const rest = /^\{(\w+)\.\.\.\}$/.exec(level)?.[1]
    const isFirst = i === 0
    if (rest !== undefined) source += isFirst ? `(?<${rest}>[^/]+(?:/[^/]+)*)` : `(?:/(?<${rest}>[^/]+(?:/[^/]+)*))?`
    else source += `${isFirst ? '' : '/'}${levelSource(level)}`
  }
  const pattern = new RegExp(`^${source}$`)
  // Nearly all topics are not of the family, and there are many patterns.
  const beginning = /^[^+*({]*/.exec(text)?.[0] ?? ''
  const end = /[^+*)}]*$/.exec(text)?.[0] ?? ''
  const start = beginning.endsWith('/') ? beginning.slice(0, -1) : beginning
  return {
    match: topic => (topic.startsWith(start) && topic.endsWith(end) ? withoutMissing(pattern.exec(topic)) : undefined),
  }
}

function withoutMissing(found: RegExpExecArray | null): Readonly<Record<string, string>> | undefined {
  if (!found) return undefined
  const named = Object.entries(found.groups ?? {}).filter(([, level]) => level !== undefined)
  return Object.fromEntries(named)
}

/** Returns the expression for one level. */
function levelSource(level: string): string {
  const name = /^\{(\w+)\}$/.exec(level)?.[1]
  if (name !== undefined) return `(?<${name}>[^/]+)`
  if (level === '+') return '[^/]+'
  return level
    .split(/(\([^)]*\)|\*)/)
    .map(part => {
      if (part === '*') return '[^/]*'
      if (!part.startsWith('(')) return escapeRegExp(part)
      const choices = part
        .slice(1, -1)
        .split('|')
        .map(choice => choice.split('*').map(escapeRegExp).join('[^/]*'))
      return `(?:${choices.join('|')})`
    })
    .join('')
}

function escapeRegExp(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
}

/** Compiles names of fields, in which `*` is any text. Returns whether a name is one of them. */
export function compileNames(names: readonly string[]): (name: string) => boolean {
  const exact = new Set(names.filter(name => !name.includes('*')))
  const wild = names.filter(name => name.includes('*')).map(name => wildcard(name))
  return name => exact.has(name) || wild.some(one => one.test(name))
}

export function wildcard(name: string): RegExp {
  return new RegExp(`^${name.split('*').map(escapeRegExp).join('.*')}$`, 's')
}
