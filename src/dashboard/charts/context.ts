import { createContext } from 'preact'
import { useContext } from 'preact/hooks'
import type { ChartModel } from './model.js'

export const Model = createContext<ChartModel | undefined>(undefined)

export function useModel(): ChartModel {
  const model = useContext(Model)
  if (!model) throw new Error('a part of a chart is outside of it')
  return model
}
