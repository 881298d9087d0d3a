/** The texts of the wall of all values in English, and so the keys of all languages. */
export const en = {
  'wall.other': 'Other',
  'wall.none': 'No matching readings',
  'wall.shown': '{shown} of {all} readings',
  'mark.unstored': 'not stored',
  'mark.late': 'late',
  'mark.clock': 'clock',
  'mark.absent': 'no value',
  'why.unstored': 'Not stored ({reason}): {detail}',
  'why.late': 'The device’s timestamp is more than a minute old: the reading was delayed.',
  'why.clock': 'The device’s timestamp was impossible, so the time of receipt is used.',
  'why.absent': 'The device says that it has no value now; this is the last one it had.',
  'empty.title': 'Waiting for the first reading',
  'empty.text':
    'The hub is running. Publish JSON to any topic: each of its numbers, states and texts becomes a tile here.',
  'empty.hint': 'No device yet? Run this command in a terminal.',
  'devices.title': 'Devices',
  'wall.title': 'All values',
} as const

export type WallKey = keyof typeof en
