import type { BoardTexts } from './en.js'

/** The texts of boards in German. */
export const de: BoardTexts = {
  title: 'Diese Tafel ändern',
  name: 'Name',
  close: 'Schließen',
  density: 'Dichte',
  'density.own': 'wie in diesem Browser',
  'density.cards': 'Karten',
  'density.list': 'Liste',
  'density.heat': 'Heatmap',
  areas: 'Bereiche',
  'areas-hint': 'Alle Geräte darin, auch künftige.',
  devices: 'Geräte',
  find: 'Gerät suchen',
  more: '{count} weitere: danach suchen',
  charts: 'Diagramme',
  'add-chart': 'Diagramm hinzufügen …',
  remove: '{name} entfernen',
  delete: 'Diese Tafel löschen',
  'delete-sure': 'Wirklich löschen? Die Geräte bleiben.',
  deleted: 'Die Tafel ist gelöscht.',
  empty: 'Auf dieser Tafel ist noch nichts.',
  'empty-hint': 'Mit „Tafel bearbeiten“ Bereiche, Geräte oder Diagramme wählen.',
  'last-day': 'letzte 24 Stunden',
  'no-data': 'In den letzten 24 Stunden nichts gespeichert',
  'chart-text': '{name}, letzte 24 Stunden: von {low} bis {high}, jetzt {now}',
}
