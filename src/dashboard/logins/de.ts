import type { Texts } from './en.js'

export const de: Texts = {
  'logins.title': 'Wo Sie angemeldet sind',
  'logins.back': 'Alle Werte',
  'logins.hint':
    'Browser, in denen {user} angemeldet ist. Wenn Sie einen nicht kennen, beenden Sie seine Anmeldung und ändern Sie Ihr Passwort.',
  'logins.own': 'Ihre Anmeldungen',
  'logins.end-others': 'Alle anderen beenden',
  'logins.foreign': 'Anmeldungen anderer Benutzer',
  'logins.cut': 'Gezeigt werden die {count} zuletzt benutzten. Alle zeigt: telehub login list',
  'logins.failed': 'Die Anmeldungen konnten nicht gelesen werden: {why}',
  'logins.ended.one': '{count} Anmeldung beendet.',
  'logins.ended.other': '{count} Anmeldungen beendet.',
  'logins.already': 'Diese Anmeldung war schon beendet.',
  'logins.not-ended': 'Nicht beendet: {why}',
  'logins.still': 'Sie sind noch angemeldet: {why}',
  'logins.no-answer': 'Der Hub antwortet nicht.',
  'login.sign-out': 'Abmelden',
  'login.end': 'Beenden',
  'login.end-own': 'Anmeldung beenden: {browser} von {address}',
  'login.end-of': 'Anmeldung von {user} beenden: {browser} von {address}',
  'login.current': 'Dieser Browser',
  'login.began': 'Seit {time}, von {address}',
  'login.began-unknown': 'Seit {time}, von unbekannter Adresse',
  'login.used': 'Zuletzt benutzt: {age}',
  'browser.unknown': 'Unbekannter Browser',
  'browser.on': '{browser} auf {system}',
}
