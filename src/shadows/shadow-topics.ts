import { isTopicName, shadowsPrefix } from '../topics.js'

export const shadowVerbs = ['update', 'get', 'delete'] as const
export type ShadowVerb = (typeof shadowVerbs)[number]

/** Names one shadow. The classic shadow of a thing has no name. */
export interface ShadowName {
  readonly thing: string
  readonly name: string
}

const maxThing = 128

/** Returns the topic that begins those of a shadow: `$aws/things/lamp/shadow`. */
export function topicOfShadow({ thing, name }: ShadowName): string {
  return name === '' ? `${shadowsPrefix}${thing}/shadow` : `${shadowsPrefix}${thing}/shadow/name/${name}`
}

/** Returns which shadow a topic asks about, and what for. Undefined for any other topic. */
export function shadowRequest(topic: string): (ShadowName & { readonly verb: ShadowVerb }) | undefined {
  const [, thing = '', name = '', last] =
    /^\$aws\/things\/([^/]+)\/shadow(?:\/name\/([^/]+))?\/(update|get|delete)$/s.exec(topic) ?? []
  const verb = shadowVerbs.find(one => one === last)
  if (!verb || thingFault(thing) || nameFault(name)) return undefined
  return { thing, name, verb }
}

/** Returns the thing that a topic or filter of shadows is about. Undefined when it is about several, or none. */
export function thingOf(filter: string): string | undefined {
  const [, thing] = /^\$aws\/things\/([^/]+)\/shadow\//s.exec(filter) ?? []
  return thing === undefined || thing === '+' ? undefined : thing
}

/** Returns why a text cannot name a thing. A client id with such characters is percent-encoded, as in `$hub/presence`. */
export function thingFault(thing: string): string | undefined {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not pass
  const isLevel = isTopicName(thing) && !/[/\u0000-\u001f\u007f]/.test(thing) && thing.length <= maxThing
  return isLevel ? undefined : `a thing has 1 to ${maxThing} characters, without / + # and control characters`
}

/** Returns why a text cannot name a shadow. Empty is the classic shadow. */
export function nameFault(name: string): string | undefined {
  return /^[A-Za-z0-9:_-]{0,64}$/.test(name) ? undefined : 'a shadow name has up to 64 letters, digits, and - _ :'
}
