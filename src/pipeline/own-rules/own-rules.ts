import { type MappingRule, ruleMistakes } from '../../config/settings.js'
import type { Files } from '../../disk/files.js'
import { EditFile, type EditKind, type EditMistake, isJsonMap, type JsonMap } from '../../edits/edit-file.js'
import { HubError } from '../../errors.js'
import type { IncidentReporter } from '../../observe/incidents.js'
import type { SentenceLog } from '../../observe/log.js'

export interface OwnRulesOptions {
  /** Data directory. */
  readonly dir: string
  readonly incidents: IncidentReporter
  readonly log: SentenceLog
  readonly files?: Files
}

/** Most rules: each is tried for each new topic. */
const maxRules = 1_000

/** Members that name files of the machine, which only those may do who write the settings. */
const onlyInSettings: readonly string[] = ['descriptor', 'message', 'codec']

/** Returns all that is wrong with a rule that the hub is to keep. */
export function ownRuleMistakes(rule: unknown): ReturnType<typeof ruleMistakes> {
  const names = isJsonMap(rule) ? onlyInSettings.filter(name => Object.hasOwn(rule, name)) : []
  const files = names.map(name => ({
    key: name as keyof MappingRule,
    sentence: 'only in telehub.yaml, as it is about a file of the machine of the hub',
  }))
  return [...ruleMistakes(rule), ...files]
}

const kind: EditKind = {
  name: 'mapping',
  noun: 'the mapping rules of the hub',
  incident: 'mapping_damaged',
  mistakesIn,
  describe: ([, rule, ...keys]) => (typeof rule === 'number' ? [`rule ${rule + 1}`, ...keys].join(': ') : ''),
  changesOf: (patch, before) => changesBetween(rulesOf(before), rulesOf(patch)),
}

/** The mapping rules that the hub keeps itself, in `mapping.json` of the data directory. */
export class OwnRules extends EditFile {
  constructor(options: OwnRulesOptions) {
    super({ ...options, kind })
  }

  get rules(): readonly MappingRule[] {
    return rulesOf(this.edits) as unknown as readonly MappingRule[]
  }
}

/** Throws `bad_request` with the mistakes of rules that the hub is to keep. */
export function refuseMistakes(rules: readonly unknown[]): void {
  const sentences = mistakesIn({ rules }).map(({ path: [, rule], sentence }) =>
    typeof rule === 'number' ? `rule ${rule + 1}: ${sentence}` : sentence,
  )
  if (sentences.length > 0) throw new HubError('bad_request', sentences.slice(0, maxSentences).join('; '))
}

/** Most mistakes that are told at once. */
const maxSentences = 20

function rulesOf({ rules }: JsonMap): readonly JsonMap[] {
  return Array.isArray(rules) ? rules : []
}

function mistakesIn(value: unknown): readonly EditMistake[] {
  if (!isJsonMap(value)) return [{ path: [], sentence: 'allowed is {rules: [{topic, measurement, …}]}' }]
  const unknown = Object.keys(value).filter(name => name !== 'rules' && name !== 'revision')
  const found: EditMistake[] = unknown.map(name => ({
    path: [name],
    sentence: `there is no ${JSON.stringify(name)}; allowed is rules`,
  }))
  const { rules = [], revision } = value
  if (revision !== undefined && !(Number.isSafeInteger(revision) && Number(revision) >= 0))
    found.push({
      path: ['revision'],
      sentence: `revision: given ${JSON.stringify(revision)}, allowed is a whole number`,
    })
  if (!Array.isArray(rules)) return [...found, { path: ['rules'], sentence: 'rules: allowed is a list of rules' }]
  if (rules.length > maxRules)
    return [...found, { path: ['rules'], sentence: `${rules.length} rules, allowed are ${maxRules}` }]
  for (const [i, rule] of rules.entries()) {
    for (const { key, sentence } of ownRuleMistakes(rule))
      found.push({ path: key === undefined ? ['rules', i] : ['rules', i, key], sentence })
  }
  return found
}

/** Most rules that are named in a sentence about a change. */
const maxNamed = 5

/** Returns what has changed, in a few words: `plant/{line}/# added`. */
function changesBetween(before: readonly JsonMap[], after: readonly JsonMap[]): string {
  const texts = (rules: readonly JsonMap[]) => new Set(rules.map(rule => JSON.stringify(rule)))
  const [old, fresh] = [texts(before), texts(after)]
  const gone = before.filter(rule => !fresh.has(JSON.stringify(rule)))
  const come = after.filter(rule => !old.has(JSON.stringify(rule)))
  const topicsOf = (rules: readonly JsonMap[]) => new Set(rules.map(({ topic }) => String(topic)))
  const [goneTopics, comeTopics] = [topicsOf(gone), topicsOf(come)]
  const said = [
    ...[...comeTopics].map(topic => `${topic} ${goneTopics.has(topic) ? 'changed' : 'added'}`),
    ...[...goneTopics].filter(topic => !comeTopics.has(topic)).map(topic => `${topic} removed`),
  ]
  if (said.length === 0) return 'the order of the rules'
  const more = said.length > maxNamed ? ` and ${said.length - maxNamed} more` : ''
  return `${said.slice(0, maxNamed).join(', ')}${more}`.slice(0, 500)
}
