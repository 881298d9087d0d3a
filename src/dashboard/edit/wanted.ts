import { useState } from 'preact/hooks'

/**
 * Shows what a person has chosen from the moment of the choice, also while that is being saved. Returns what to show, and
 * how to choose.
 */
export function useWanted<Value>(
  value: Value,
  save: (wanted: Value) => Promise<unknown>,
): readonly [shown: Value, choose: (wanted: Value) => void] {
  const [wanted, setWanted] = useState<{ readonly value: Value }>()
  const choose = (next: Value) => {
    setWanted({ value: next })
    void save(next).then(() => setWanted(undefined))
  }
  return [wanted ? wanted.value : value, choose]
}
