import type { Answer } from '../contract/contract.js'
import { describe } from '../errors.js'
import { plain } from '../observe/log.js'
import { many } from '../runtime/terminal.js'
import { type Check, type Finding, fine, problem, warning } from './finding.js'

type OutletRows = Answer<'GET /api/outlets'>['outlets']

/** Milliseconds after which a message that waits is worth a word. */
const longMs = 60_000

/** How the outlets of a running hub do. */
export const outlets: Check = async ({ settings, hub, url, key, clock }) => {
  const check = 'outlets'
  const count = settings.outlets.length
  if (count === 0) return []
  if (!hub) return [fine(check, `${many(count, 'outlet')} in the settings; a hub that runs tells how they do`)]
  try {
    const response = await fetch(`${url}/api/outlets`, {
      headers: key ? { authorization: `Bearer ${key}` } : {},
      redirect: 'manual',
      signal: AbortSignal.timeout(10_000),
    })
    if (!response.ok) throw new Error(`it answers with ${response.status}`)
    const answer = (await response.json()) as { outlets: OutletRows }
    return answer.outlets.flatMap(outlet => findingsOf(outlet, clock.now()))
  } catch (error) {
    const why = describe((error as { cause?: unknown }).cause ?? error)
    return [warning(check, `the hub does not tell how its outlets do: ${plain(why)}`, 'Look at its log.')]
  }
}

function findingsOf(
  { name, state, detail = '', oldest, balance, dead, whenFull }: OutletRows[number],
  now: number,
): Finding[] {
  const check = `outlet ${plain(name)}`
  const { behind, residual, skipped, lost } = balance
  const found: Finding[] = []
  const add = (level: typeof problem, seen: string, advice: string) => found.push(level(check, seen, advice))
  if (residual !== 0) add(problem, `${many(residual, 'message')} are missing in its account`, 'Please report this.')
  if (skipped + lost > 0)
    add(
      warning,
      `${many(skipped + lost, 'message')} did not reach it`,
      'Mend the target, or give the spool more room (spool.limit).',
    )
  if (state === 'down') {
    const meanwhile =
      whenFull === 'skip' ? 'Then its oldest messages are skipped.' : 'At spool.limit devices are refused.'
    add(
      problem,
      `down, ${many(behind, 'message')} behind: ${plain(detail)}`,
      `Mend the target, or take it out. ${meanwhile}`,
    )
  } else if (state === 'paused' && behind > 0)
    add(warning, `paused, ${many(behind, 'message')} behind`, `telehub outlets resume ${plain(name)} lets it go on.`)
  else if (oldest !== undefined && now - oldest > longMs)
    add(
      warning,
      `slow, ${many(behind, 'message')} behind`,
      'See whether the target takes messages as fast as they arrive.',
    )
  if (dead.letters > 0)
    add(warning, `${many(dead.letters, 'dead letter')}`, `telehub dead list --outlet ${plain(name)} shows why.`)
  return found.length > 0 ? found : [fine(check, `${state}, ${many(behind, 'message')} behind`)]
}
