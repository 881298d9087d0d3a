/** The texts of boards in English, and so the keys of all languages. A name in braces is filled in. */
export const en = {
  title: 'Change this board',
  name: 'Name',
  close: 'Close',
  density: 'Density',
  'density.own': 'as in this browser',
  'density.cards': 'Cards',
  'density.list': 'List',
  'density.heat': 'Heat map',
  areas: 'Areas',
  'areas-hint': 'All devices of these, also those to come.',
  devices: 'Devices',
  find: 'Find a device',
  more: '{count} more: search for them',
  charts: 'Charts',
  'add-chart': 'Add a chart …',
  remove: 'Remove {name}',
  delete: 'Delete this board',
  'delete-sure': 'Really delete? The devices stay.',
  deleted: 'The board is deleted.',
  empty: 'Nothing is on this board yet.',
  'empty-hint': 'Choose areas, devices or charts with “Edit board”.',
  'last-day': 'last 24 hours',
  'no-data': 'Nothing stored in the last 24 hours',
  'chart-text': '{name}, last 24 hours: from {low} to {high}, now {now}',
} as const

export type BoardTexts = Readonly<Record<keyof typeof en, string>>
