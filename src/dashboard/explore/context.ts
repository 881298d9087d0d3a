import { createContext } from 'preact'
import { useContext } from 'preact/hooks'
import type { ExploreModel } from './model.js'

export const Model = createContext<ExploreModel | undefined>(undefined)

/** Returns the model of the page. */
export function useExplore(): ExploreModel {
  const model = useContext(Model)
  if (!model) throw new Error('a part of the page Explore is outside of it')
  return model
}

/** Returns the address of a topic on the page. */
export function addressOf(topic: string): string {
  return `#${new URLSearchParams({ explore: '', topic })}`
}
