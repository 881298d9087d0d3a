import type { Answer } from '../contract/contract.js'
import { HubError } from '../errors.js'
import { parseSeriesKey } from '../model.js'
import type { PipelineApi } from '../pipeline/pipeline-api.js'

type RuleText = Readonly<Record<string, unknown>>

/** Members of a rule that are looked at here. */
interface StoredRule {
  readonly topic?: unknown
  readonly measurement?: unknown
  readonly ignore?: unknown
  readonly deadband?: unknown
}

/**
 * Resolves with the rule that stores less of a series. Rejects with `not_found` when nothing of the series was stored of
 * late, and with `bad_request` when there is no such rule.
 *
 * @param deadband Default: what is proposed.
 */
export async function thinningRule(
  pipeline: Pick<PipelineApi, 'noise'>,
  key: string,
  deadband: number | undefined,
): Promise<RuleText> {
  const json = await pipeline.noise({ series: key, hours: 168, limit: 1 })
  const { rows } = JSON.parse(new TextDecoder().decode(json)) as Answer<'GET /api/noise'>
  const [row] = rows
  if (!row) throw new HubError('not_found', `${key}: the hub has stored no value of this series in the last seven days`)
  if (!row.rule) {
    throw new HubError(
      'bad_request',
      `${key}: a rule would save little, or the mapping makes this series from several topics`,
    )
  }
  if (deadband === undefined) return row.rule
  const field = parseSeriesKey(key)?.field ?? ''
  return { ...row.rule, deadband: { [field]: deadband } }
}

/** Adds a rule that only thins; joined with one for the same topic. */
export function withThinning(rules: readonly RuleText[], rule: RuleText): readonly RuleText[] {
  const at = rules.findIndex(
    ({ topic, measurement, ignore }: StoredRule) =>
      topic === rule.topic && measurement === undefined && ignore !== true,
  )
  const before = rules[at]
  if (!before) return [...rules, rule]
  const { deadband }: StoredRule = before
  const known = typeof deadband === 'number' ? { '*': deadband } : ((deadband ?? {}) as object)
  const joined = { ...before, ...rule, deadband: { ...known, ...((rule.deadband ?? {}) as object) } }
  return rules.map((one, i) => (i === at ? joined : one))
}
