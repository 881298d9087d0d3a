import type { Texts } from './en.js'

export const de: Texts = {
  title: 'Anmelden',
  host: 'am Hub {host}',
  user: 'Benutzername',
  password: 'Passwort',
  show: 'Passwort zeigen',
  hide: 'Passwort verbergen',
  busy: 'Anmeldung läuft',
  'no-user': 'Ihr Benutzername fehlt.',
  'no-password': 'Ihr Passwort fehlt.',
  silent: 'Der Hub antwortet nicht. Läuft er, und erreicht ihn dieser Computer?',
  offline: 'Sie sind offline.',
  wrong: 'Benutzername oder Passwort ist falsch.',
  crowded: 'Der Hub ist mit anderen Anmeldungen beschäftigt. Versuchen Sie es gleich noch einmal.',
  failed: 'Die Anmeldung ist fehlgeschlagen: {why}',
  status: 'der Hub hat mit Status {status} geantwortet',
  wait: 'Zu viele Versuche. Versuchen Sie es um {time} wieder.',
  caps: 'Die Feststelltaste ist an.',
  plain: 'Diese Verbindung ist nicht verschlüsselt: jeder im Netz kann Ihr Passwort lesen.',
  help: 'Kein Konto, oder Passwort vergessen? Auf dem Rechner des Hubs:',
  or: 'oder',
}
