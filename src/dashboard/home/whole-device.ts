import { useEffect, useState } from 'preact/hooks'
import { fetchHomeDevice } from '../api.js'
import type { HomeDevice } from './catalogue.js'

/** Fetches a device with all values, and again when one of `versions` is another. Undefined until the first answer. */
export function useWholeDevice(id: string, ...versions: readonly unknown[]): HomeDevice | undefined {
  const [whole, setWhole] = useState<HomeDevice>()
  useEffect(() => {
    let isOver = false
    void fetchHomeDevice(id).then(
      found => !isOver && found && setWhole(found),
      () => {},
    )
    return () => {
      isOver = true
    }
  }, [id, ...versions])
  return whole
}
