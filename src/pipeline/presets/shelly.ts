import { isMembers } from '../decoders/members.js'
import { type DeviceDescription, type Preset, textOf } from './preset.js'

/** Shelly devices of the first generation: https://shelly-api-docs.shelly.cloud/gen1/#mqtt-support */
export const shelly1: Preset = {
  name: 'shelly1',
  title: 'Shelly, first generation',
  topics: [
    {
      topic: 'shellies/announce',
      is: 'description',
      describe: ({ payload }) => describe(payload, undefined),
    },
    {
      topic: 'shellies/{device}/announce',
      is: 'description',
      about: 'model and version of a device',
      describe: ({ levels, payload }) => describe(payload, levels.device),
    },
    {
      topic: 'shellies/{device}/info',
      is: 'ignored',
      about: 'the state of the device as a whole; the other topics have it, too',
    },
    { topic: 'shellies/command', is: 'command' },
    { topic: 'shellies/{device}/command', is: 'command' },
    { topic: 'shellies/{device}/{component...}/command', is: 'command' },
    { topic: 'shellies/{device}/{component...}/set', is: 'command', about: 'commands' },
    { topic: 'shellies/{device}/{component...}/power', units: { value: 'W' } },
    { topic: 'shellies/{device}/(relay|light|color|white|roller)/{channel}/energy', units: { value: 'W·min' } },
    { topic: 'shellies/{device}/emeter/{channel}/(total|total_returned)', units: { value: 'Wh' } },
    { topic: 'shellies/{device}/{component...}/voltage', units: { value: 'V' } },
    { topic: 'shellies/{device}/emeter/{channel}/current', units: { value: 'A' } },
    { topic: 'shellies/{device}/(temperature|sensor/temperature)', units: { value: '°C' } },
    { topic: 'shellies/{device}/temperature_f', units: { value: '°F' } },
    { topic: 'shellies/{device}/sensor/(humidity|battery)', units: { value: '%' } },
    { topic: 'shellies/{device}/sensor/lux', units: { value: 'lx' } },
    { topic: 'shellies/{device}/{component...}', about: 'the value of each topic' },
  ],
}

/** Units of the components: https://shelly-api-docs.shelly.cloud/gen2/ComponentsAndServices/Switch */
const units = {
  '*apower': 'W',
  '*act_power': 'W',
  '*aprt_power': 'VA',
  '*voltage': 'V',
  '*current': 'A',
  '*freq': 'Hz',
  '*aenergy.total': 'Wh',
  '*act_energy': 'Wh',
  '*act_ret_energy': 'Wh',
  '*total_act': 'Wh',
  '*total_act_ret': 'Wh',
  '*battery.percent': '%',
  '*battery.V': 'V',
  '*.tC': '°C',
  tC: '°C',
  '*.tF': '°F',
  tF: '°F',
  '*rh': '%',
  '*wifi.rssi': 'dBm',
  '*sys.uptime': 's',
}

/** Fields that only repeat or describe. */
const drop = [
  'src',
  'dst',
  'method',
  '*by_minute.*',
  '*minute_ts',
  '*wakeup_reason.*',
  '*last_sync_ts',
  '*unixtime',
  'params.sys.time',
]

/** Shelly devices from the second generation on: https://shelly-api-docs.shelly.cloud/gen2/ComponentsAndServices/Mqtt */
export const shelly2: Preset = {
  name: 'shelly2',
  title: 'Shelly, second generation and later',
  note: 'Switch on “RPC status notifications” or “Generic status update over MQTT”.',
  topics: [
    {
      topic: '{device...}/events/rpc',
      time: ['params.ts'],
      strip: ['params.'],
      drop,
      units,
      about: 'a field for each value of each component; the time is that of the notification',
    },
    { topic: '{device...}/debug/log', is: 'log', about: 'log', looksLike: /^\S+:\d+\s/ },
    { topic: '{device...}/rpc', is: 'command', looksLike: /^\s*\{(?=[\s\S]*"method")(?=[\s\S]*"(?:src|id)")/ },
    { topic: '{device...}/command/(switch|cover|light|rgb|rgbw|cct|input):*', is: 'command', about: 'commands' },
    {
      topic:
        '{device...}/status/(switch|cover|light|rgb|rgbw|cct|input|em|em1|emdata|em1data|pm1|temperature|humidity|devicepower|voltmeter|smoke|presence|sys|wifi|cloud|mqtt|ble|bthome*):*',
      // The times inside are those of minutes, not of the reading.
      time: [],
      drop,
      units,
    },
    {
      topic: '{device...}/status/(sys|wifi|cloud|mqtt|ble|eth|ws|ui)',
      time: [],
      drop,
      units,
      about: 'a field for each value',
    },
  ],
}

function describe(payload: unknown, device: string | undefined): readonly DeviceDescription[] | undefined {
  if (!isMembers(payload)) return undefined
  const id = textOf(payload, 'id') ?? device
  if (id === undefined) return undefined
  return [
    {
      source: 'shelly',
      id,
      name: id,
      model: textOf(payload, 'model'),
      manufacturer: 'Shelly',
      version: textOf(payload, 'fw_ver'),
      base: `shellies/${device ?? id}`,
      entities: [],
    },
  ]
}
