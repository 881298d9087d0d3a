import { useEffect, useRef, useState } from 'preact/hooks'
import { say } from './words.js'

/** The answer of the hub to a question of a part. */
export interface Loaded<Value> {
  /** Undefined until the first answer. */
  readonly value: Value | undefined
  /** Why there is no answer; empty when there is one. */
  readonly trouble: string
  /** Asks again. */
  readonly again: () => void
}

/** Asks when the part is shown, and whenever `key` has changed. Only the latest question counts. */
export function useLoaded<Value>(load: () => Promise<Value>, key = ''): Loaded<Value> {
  const [value, setValue] = useState<Value>()
  const [trouble, setTrouble] = useState('')
  const asked = useRef(0)
  const again = () => {
    const number = ++asked.current
    load().then(
      answer => {
        if (number !== asked.current) return
        setValue(() => answer)
        setTrouble('')
      },
      (error: unknown) => {
        if (number === asked.current) setTrouble(say('failed', { why: (error as Error).message }))
      },
    )
  }
  useEffect(() => {
    again()
    return () => {
      asked.current++
    }
  }, [key])
  return { value, trouble, again }
}
