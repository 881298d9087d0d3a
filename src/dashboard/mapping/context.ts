import { createContext } from 'preact'
import { useContext } from 'preact/hooks'
import type { MapModel } from './model.js'
import type { Place } from './requests.js'
import { say } from './words.js'

export const Model = createContext<MapModel | undefined>(undefined)

/** Returns the model of the mapping. */
export function useMapping(): MapModel {
  const model = useContext(Model)
  if (!model) throw new Error('a part of the mapping is outside of it')
  return model
}

/** Returns the address where a rule for a topic is made. */
export function mapAddress(topic: string): string {
  return `#explore&map&${new URLSearchParams({ topic })}`
}

/** Returns the words for where a rule stands. */
export function placeText({ from, number }: Place): string {
  return say(`place.${from}`, { number })
}
