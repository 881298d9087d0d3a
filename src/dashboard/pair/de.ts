import type { Texts } from './en.js'

/** German texts of the pairing page. */
export const de: Texts = {
  title: 'Ein Gerät koppeln',
  text: 'Mit diesem Code erzeugt der Hub Benutzer und Passwort für ein Gerät, einmal. Zeigen Sie sie nur dort an, wo Sie sie eingeben.',
  code: 'Code',
  go: 'Benutzer und Passwort holen',
  busy: 'Der Hub wird gefragt …',
  'no-code': 'Geben Sie den Code ein, den der Hub unter Einstellungen, Gerät koppeln zeigt.',
  silent: 'Der Hub antwortet nicht. Läuft er, und ist er von diesem Gerät aus erreichbar?',
  wrong:
    'Dieser Code ist falsch, schon benutzt oder älter als zehn Minuten. Wer ihn Ihnen gegeben hat, kann einen neuen machen.',
  failed: 'Das ging nicht: {why}',
  done: 'Geben Sie dies im Gerät ein. Es wird nur jetzt angezeigt.',
  host: 'Adresse',
  port: 'Port',
  tls: 'TLS',
  yes: 'ja',
  no: 'nein',
  user: 'Benutzer',
  password: 'Passwort',
  clients: 'Client-ID',
  publish: 'Darf veröffentlichen auf',
  read: 'Darf empfangen',
  copy: 'Kopieren',
  copied: 'Kopiert',
  'copy-label': 'Kopieren: {what}',
  all: 'Alles als JSON kopieren',
  plain: 'Diese Verbindung ist nicht verschlüsselt: Jeder im Netz kann das Passwort lesen.',
}
