import { createContext } from 'preact'
import { useContext } from 'preact/hooks'
import type { AlertsModel } from './model.js'

/** The model of the page, for all components. */
export const Model = createContext<AlertsModel | undefined>(undefined)

export function useAlerts(): AlertsModel {
  const model = useContext(Model)
  if (!model) throw new Error('no model around this component')
  return model
}
