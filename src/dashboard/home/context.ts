import { createContext } from 'preact'
import { useContext } from 'preact/hooks'
import type { HomeModel } from './model.js'

/** The model of the page, for all components. */
export const Model = createContext<HomeModel | undefined>(undefined)

export function useModel(): HomeModel {
  const model = useContext(Model)
  if (!model) throw new Error('no model around this component')
  return model
}
