import { isMembers } from '../decoders/members.js'
import { type DeviceDescription, type Preset, textOf } from './preset.js'

/** Units of Tasmota's sensors: https://tasmota.github.io/docs/MQTT/ and its `tasmota.h`. */
const units = {
  '*ENERGY.Power': 'W',
  '*ENERGY.ApparentPower': 'VA',
  '*ENERGY.ReactivePower': 'var',
  '*ENERGY.Voltage': 'V',
  '*ENERGY.Current': 'A',
  '*ENERGY.Frequency': 'Hz',
  '*ENERGY.Period': 'Wh',
  '*ENERGY.Total': 'kWh',
  '*ENERGY.Today': 'kWh',
  '*ENERGY.Yesterday': 'kWh',
  '*.Humidity': '%',
  '*.Illuminance': 'lx',
  '*.CarbonDioxide': 'ppm',
  'Wifi.RSSI': '%',
  'Wifi.Signal': 'dBm',
  UptimeSec: 's',
}

/** Tasmota, with the full topic `%prefix%/%topic%/` or `%topic%/%prefix%/`. */
export const tasmota: Preset = {
  name: 'tasmota',
  title: 'Tasmota',
  note: 'The clock of a device is local time; a device in another zone is recognised.',
  topics: [
    {
      topic: 'tasmota/discovery/{mac}/config',
      is: 'description',
      about: 'name, model and version of a device',
      describe: ({ levels, payload }) => describe(levels.mac as string, payload),
    },
    { topic: 'tasmota/discovery/{mac}/sensors', is: 'ignored' },
    { topic: 'cmnd/{device...}', is: 'command' },
    { topic: '{device...}/cmnd/{command...}', is: 'command', about: 'commands' },
    {
      topic: '(tele|stat)/{device...}/(INFO1|INFO2|INFO3|INFO4)',
      is: 'ignored',
      about: 'what a device says when it starts',
    },
    { topic: '{device...}/(tele|stat)/(INFO1|INFO2|INFO3|INFO4)', is: 'ignored' },
    {
      topic:
        'stat/{device...}/(STATUS|STATUS1|STATUS2|STATUS3|STATUS4|STATUS5|STATUS6|STATUS7|STATUS9|STATUS12|UPGRADE)',
      is: 'ignored',
    },
    { topic: '(stat|tele)/{device...}/LOGGING', is: 'log', about: 'log' },
    {
      topic: '(tele|stat)/{device...}/(SENSOR|STATE|STATUS8|STATUS10|STATUS11|ENERGY)',
      units,
      about: 'a field for each value',
    },
    { topic: '{device...}/(tele|stat)/(SENSOR|STATE|STATUS8|STATUS10|STATUS11|ENERGY)', units },
  ],
}

function describe(mac: string, payload: unknown): readonly DeviceDescription[] | undefined {
  if (!isMembers(payload)) return undefined
  const topic = textOf(payload, 't')
  const full = textOf(payload, 'ft') ?? '%prefix%/%topic%/'
  const base = (prefix: string) => full.replace('%prefix%', prefix).replace('%topic%', topic ?? '')
  const relays = Array.isArray(payload.rl) ? payload.rl.filter(one => one !== 0).length : 0
  return [
    {
      source: 'tasmota',
      id: mac,
      name: textOf(payload, 'dn'),
      model: textOf(payload, 'md'),
      manufacturer: 'Tasmota',
      version: textOf(payload, 'sw'),
      entities: Array.from({ length: topic === undefined ? 0 : relays }, (_, i) => {
        const power = relays === 1 ? 'POWER' : `POWER${i + 1}`
        return { topic: `${base('stat')}${power}`, field: 'value', commandTopic: `${base('cmnd')}${power}` }
      }),
    },
  ]
}
