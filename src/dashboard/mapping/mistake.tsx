import { saidText } from '../said/said.js'
import { useMapping } from './context.js'
import type { RuleCheck } from './requests.js'

export function mistakesOf(check: RuleCheck, key: string): RuleCheck['mistakes'] {
  return check.mistakes.filter(mistake => mistake.key === key)
}

/** The mistakes of one key of the rule, beside the control that they concern. */
export function Mistake({ of }: { readonly of: string }) {
  const { check } = useMapping()
  const found = check ? mistakesOf(check, of) : []
  return (
    <p class="trouble" role="alert" id={`mistake-${of}`}>
      {found.map(({ sentence, said }) => saidText(said) ?? sentence).join(' · ')}
    </p>
  )
}
