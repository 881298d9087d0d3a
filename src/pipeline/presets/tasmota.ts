import { isMembers } from '../decoders/members.js'
import { type ControlDescription, type DeviceDescription, type Preset, textOf } from './preset.js'

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
  const friendly = Array.isArray(payload.fn) ? payload.fn : []
  // https://tasmota.github.io/docs/Commands/: LightSubtype of 2 and more can be dimmed.
  const isDimmed = typeof payload.lt_st === 'number' && payload.lt_st > 0
  const kinds = Array.isArray(payload.rl) && payload.rl.includes(2) ? ['light'] : undefined
  const relays = Array.isArray(payload.rl) ? payload.rl.filter(one => one !== 0).length : 0
  return [
    {
      source: 'tasmota',
      id: mac,
      name: textOf(payload, 'dn'),
      model: textOf(payload, 'md'),
      manufacturer: 'Tasmota',
      version: textOf(payload, 'sw'),
      ...(topic !== undefined && { base: `tasmota/${topic}` }),
      ...(kinds && { kinds }),
      ...(topic !== undefined && relays > 0 && { controls: controlsOf(base, relays, friendly, isDimmed) }),
      entities: Array.from({ length: topic === undefined ? 0 : relays }, (_, i) => {
        const power = relays === 1 ? 'POWER' : `POWER${i + 1}`
        return { topic: `${base('stat')}${power}`, field: 'value', commandTopic: `${base('cmnd')}${power}` }
      }),
    },
  ]
}

/** Returns the relays as switches, and the brightness of a light as a slider. */
function controlsOf(
  base: (prefix: string) => string,
  relays: number,
  friendly: readonly unknown[],
  isDimmed: boolean,
): readonly ControlDescription[] {
  const switches = Array.from({ length: relays }, (_, i): ControlDescription => {
    const power = relays === 1 ? 'POWER' : `POWER${i + 1}`
    const name = friendly[i]
    return {
      kind: 'switch',
      name: relays === 1 ? 'State' : typeof name === 'string' && name !== '' ? name : `Relay ${i + 1}`,
      topic: `${base('cmnd')}${power}`,
      options: [
        { name: 'On', key: 'on', payload: 'ON', value: true },
        { name: 'Off', key: 'off', payload: 'OFF', value: false },
      ],
      state: { topic: `${base('stat')}${power}`, field: 'value' },
    }
  })
  if (!isDimmed) return switches
  const range = { min: 0, max: 100, step: 1, unit: '%' }
  const state = { topic: `${base('tele')}STATE`, field: 'Dimmer' }
  return [
    ...switches,
    { kind: 'slider', name: 'Brightness', topic: `${base('cmnd')}Dimmer`, payload: '{value}', range, state },
  ]
}
