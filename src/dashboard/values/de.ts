import type { WallKey } from './en.js'

export const de: Readonly<Record<WallKey, string>> = {
  'wall.other': 'Sonstige',
  'wall.none': 'Keine passenden Messwerte',
  'wall.shown': '{shown} von {all} Messwerten',
  'mark.unstored': 'nicht gespeichert',
  'mark.late': 'verspätet',
  'mark.clock': 'Uhr',
  'mark.absent': 'kein Wert',
  'why.unstored': 'Nicht gespeichert ({reason}): {detail}',
  'why.late': 'Der Zeitstempel des Geräts ist mehr als eine Minute alt: Die Messung kam verspätet.',
  'why.clock': 'Der Zeitstempel des Geräts war unmöglich, daher gilt die Zeit des Empfangs.',
  'why.absent': 'Das Gerät meldet, dass es jetzt keinen Wert hat; dies ist sein letzter.',
  'empty.title': 'Warten auf die erste Messung',
  'empty.text':
    'Der Hub läuft. Senden Sie JSON an ein beliebiges Topic: Jede Zahl, jeder Zustand und jeder Text darin wird hier zu einer Kachel.',
  'empty.hint': 'Noch kein Gerät? Führen Sie diesen Befehl in einem Terminal aus.',
  'devices.title': 'Geräte',
  'wall.title': 'Alle Werte',
}
