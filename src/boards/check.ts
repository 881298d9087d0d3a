import type { Schema } from '../contract/schema.js'
import type { EditMistake } from '../edits/edit-file.js'

/** Most mistakes that are named. */
const maxMistakes = 100

/** Returns all mistakes of a value by a schema of the contract: a person who has edited a file mends them at once. */
export function mistakesIn(schema: Schema, value: unknown): readonly EditMistake[] {
  const found: EditMistake[] = []
  check(schema, value, [], found)
  return found
}

function check(schema: Schema, value: unknown, path: readonly (string | number)[], found: EditMistake[]): void {
  if (found.length >= maxMistakes) return
  const wrong = (allowed: string) => {
    const given = JSON.stringify(value)?.slice(0, 60) ?? 'nothing'
    found.push({ path, sentence: `given ${given}, allowed ${allowed}` })
  }
  const { type, minimum, maximum, maxLength, maxItems, enum: words } = schema as Readonly<Record<string, unknown>>
  if (Array.isArray(words)) {
    if (!words.includes(value)) wrong(`are ${words.join(', ')}`)
    return
  }
  switch (type) {
    case 'object':
      if (typeof value !== 'object' || value === null || Array.isArray(value)) wrong('are names with values')
      else checkMembers(schema, value as Readonly<Record<string, unknown>>, path, found)
      break
    case 'array':
      if (!Array.isArray(value)) wrong('is a list')
      else if (typeof maxItems === 'number' && value.length > maxItems) wrong(`are at most ${maxItems}`)
      else for (const [i, item] of value.entries()) check(schema.items as Schema, item, [...path, i], found)
      break
    case 'string':
      if (typeof value !== 'string') wrong('is a text')
      else if (typeof maxLength === 'number' && value.length > maxLength) wrong(`are ${maxLength} characters`)
      break
    case 'boolean':
      if (typeof value !== 'boolean') wrong('are true and false')
      break
    default: {
      const isNumber =
        typeof value === 'number' && Number.isFinite(value) && (type !== 'integer' || Number.isInteger(value))
      if (!isNumber) wrong(type === 'integer' ? 'is a whole number' : 'is a number')
      else if (typeof minimum === 'number' && value < minimum) wrong(`are numbers from ${minimum} on`)
      else if (typeof maximum === 'number' && value > maximum) wrong(`are numbers up to ${maximum}`)
    }
  }
}

function checkMembers(
  schema: Schema,
  value: Readonly<Record<string, unknown>>,
  path: readonly (string | number)[],
  found: EditMistake[],
): void {
  const { properties = {}, additionalProperties } = schema as {
    readonly properties?: Readonly<Record<string, Schema>>
    readonly additionalProperties?: Schema | false
  }
  for (const [name, member] of Object.entries(value)) {
    const known = Object.hasOwn(properties, name) ? properties[name] : additionalProperties
    if (known) check(known, member, [...path, name], found)
    else if (known === false) {
      const allowed = Object.keys(properties).join(', ')
      found.push({ path: [...path, name], sentence: `there is no ${JSON.stringify(name)}; allowed are ${allowed}` })
    }
  }
}
