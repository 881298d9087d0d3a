import { isMembers } from '../decoders/members.js'
import { valueShown } from './control-values.js'
import { type ControlDescription, type DeviceDescription, type Preset, textOf } from './preset.js'

/** OwnTracks: https://owntracks.org/booklet/tech/json/ */
export const ownTracks: Preset = {
  name: 'owntracks',
  title: 'OwnTracks',
  topics: [
    { topic: 'owntracks/{user}/{device}/cmd', is: 'command', about: 'commands' },
    {
      topic: 'owntracks/{user}/{device}/(info|waypoints|waypoint|dump|status)',
      is: 'ignored',
      about: 'cards, waypoints and settings',
    },
    {
      topic: 'owntracks/{user}/{device}',
      is: 'ignored',
      looksLike: /"_type"\s*:\s*"(?:card|waypoints?|dump|configuration|cmd|encrypted|lwt|status)"/,
    },
    {
      topic: 'owntracks/{user}/{device}/{event...}',
      time: ['tst'],
      drop: ['_type', '_id', 'created_at', 'topic'],
      units: { acc: 'm', alt: 'm', vac: 'm', rad: 'm', batt: '%', vel: 'km/h', cog: '°', p: 'kPa' },
      about: 'the position, with the time of the fix (`tst`)',
    },
  ],
}

/** Names of rtl_433 end with their unit: https://github.com/merbanan/rtl_433/blob/master/docs/DATA_FORMAT.md */
const rtlUnits: Readonly<Record<string, string>> = {
  C: '°C',
  F: '°F',
  hPa: 'hPa',
  kPa: 'kPa',
  PSI: 'psi',
  mm: 'mm',
  in: 'in',
  mm_h: 'mm/h',
  in_h: 'in/h',
  km_h: 'km/h',
  mi_h: 'mph',
  m_s: 'm/s',
  deg: '°',
  V: 'V',
  mV: 'mV',
  A: 'A',
  W: 'W',
  kWh: 'kWh',
  lux: 'lx',
  klx: 'klx',
  ppm: 'ppm',
  pct: '%',
}
const rtlFields = {
  ...Object.fromEntries(Object.entries(rtlUnits).map(([end, unit]) => [`*_${end}`, unit])),
  humidity: '%',
  moisture: '%',
  rssi: 'dB',
  snr: 'dB',
  noise: 'dB',
}

/** rtl_433, with `-F mqtt`. */
export const rtl433: Preset = {
  name: 'rtl_433',
  title: 'rtl_433',
  topics: [
    { topic: 'rtl_433/{host}/states', is: 'ignored' },
    {
      topic: 'rtl_433/{host}/events',
      tags: ['model', 'subtype', 'id', 'channel'],
      drop: ['mic', 'mod', 'freq', 'freq1', 'freq2', 'time'],
      units: rtlFields,
      about: 'a field for each value; `model`, `id` and `channel` are tags',
    },
    { topic: 'rtl_433/{host}/devices/{device...}/(time|mic|mod)', is: 'ignored', about: 'times and checksums' },
    ...Object.entries(rtlFields).map(([name, unit]) => ({
      topic: `rtl_433/{host}/devices/{device...}/${name}`,
      units: { value: unit },
    })),
    { topic: 'rtl_433/{host}/devices/{device...}/(id|code|model)', isText: true },
    { topic: 'rtl_433/{host}/{path...}', about: 'the value of each topic' },
  ],
}

const gatewayUnits = {
  ...{ tempc: '°C', tempf: '°F', hum: '%', batt: '%', volt: 'V', rssi: 'dBm', lux: 'lx', moi: '%', fer: 'µS/cm' },
  ...{ pres: 'hPa', uptime: 's', freemem: 'B', mv: 'mV' },
}

/** OpenMQTTGateway and Theengs Gateway: https://docs.openmqttgateway.com and https://gateway.theengs.io */
export const openMqttGateway: Preset = {
  name: 'openmqttgateway',
  title: 'OpenMQTTGateway, Theengs Gateway',
  topics: [
    { topic: '{base...}/commands/MQTTto*', is: 'command' },
    { topic: '{base...}/commands/MQTTto*/{rest...}', is: 'command', about: 'commands' },
    {
      topic: '{base...}/RTL_433toMQTT',
      tags: ['model', 'subtype', 'id', 'channel'],
      drop: ['mic', 'protocol'],
      units: { ...gatewayUnits, ...rtlFields, rssi: 'dBm' },
      about: 'a field for each value; `model`, `id` and `channel` are tags where the topic is that of all devices',
    },
    {
      topic: '{base...}/RTL_433toMQTT/{device...}',
      drop: ['mic', 'protocol'],
      units: { ...gatewayUnits, ...rtlFields, rssi: 'dBm' },
    },
    { topic: '{base...}/BTtoMQTT', tags: ['id'], units: gatewayUnits },
    { topic: '{base...}/PilighttoMQTT', tags: ['protocol', 'message.id', 'message.channel'], strip: ['message.'] },
    {
      topic: '{base...}/(BTtoMQTT|SYStoMQTT|RFtoMQTT|LORAtoMQTT|IRtoMQTT|2GtoMQTT|HHCCJCY01HHCC)/{device...}',
      units: gatewayUnits,
      about: 'a field for each value',
    },
  ],
}

/** Frigate: https://docs.frigate.video/integrations/mqtt */
export const frigate: Preset = {
  name: 'frigate',
  title: 'Frigate',
  topics: [
    { topic: 'frigate*/{camera...}/set', is: 'command' },
    { topic: 'frigate*/{camera}/ptz', is: 'command' },
    { topic: 'frigate*/(restart|onConnect)', is: 'command', about: 'commands' },
    {
      topic: 'frigate*/{more...}/(events|reviews)',
      // The times are those of frames; a message tells what is now.
      time: [],
      strip: ['after.'],
      drop: [
        ...[
          'before.*',
          '*thumbnail*',
          '*.path_data*',
          '*.box.*',
          '*.region.*',
          '*.snapshot.*',
          '*current_attributes.*',
        ],
        ...['*.attributes.*', '*.ratio', '*_time', '*.thumb_path', '*.thumb_time'],
      ],
      about: 'what is seen now: label, score, zones',
    },
    {
      topic: 'frigate*/stats',
      about: 'a field for each value',
      // The numbers of processes are new after each start.
      drop: ['cpu_usages.*', 'processes.*', '*pid', 'service.storage.*', 'service.last_updated'],
    },
  ],
}

/** WLED: https://kno.wled.ge/interfaces/mqtt/ */
export const wled: Preset = {
  name: 'wled',
  title: 'WLED',
  topics: [
    { topic: 'wled*/{device}/(api|col)', is: 'command' },
    { topic: 'wled*/{device}', is: 'command', about: 'commands' },
    { topic: 'wled*/{device}/v', is: 'ignored', about: 'the state as XML' },
    { topic: 'wled*/{device}/c', isText: true },
    { topic: 'wled*/{device}/{name}', about: 'brightness, colour and whether it is online' },
  ],
}

/** zwave-js-ui: https://zwave-js.github.io/zwave-js-ui/#/guide/mqtt */
export const zwaveJsUi: Preset = {
  name: 'zwave-js-ui',
  title: 'Z-Wave JS UI',
  topics: [
    { topic: 'zwave*/_CLIENTS/{rest...}', is: 'command' },
    { topic: 'zwave*/{path...}/set', is: 'command', about: 'commands' },
    { topic: 'zwave*/{path...}/nodeinfo', is: 'ignored' },
    { topic: 'zwave*/_EVENTS/{rest...}', is: 'log', about: 'events, and what describes nodes' },
    { topic: 'zwave*/{path...}/lastActive', is: 'ignored' },
    {
      topic: 'zwave*/{path...}',
      time: ['time', 'lastUpdate'],
      drop: ['nodeName', 'nodeLocation'],
      about: 'the value of each topic',
    },
  ],
}

/** Valetudo: https://valetudo.cloud/pages/integrations/mqtt.html */
export const valetudo: Preset = {
  name: 'valetudo',
  title: 'Valetudo',
  topics: [
    { topic: 'valetudo/{robot}/MapData/{part...}', is: 'ignored', about: 'the map' },
    { topic: 'valetudo/{robot}/{path...}/set', is: 'command', about: 'commands' },
    { topic: 'valetudo/{robot}/{path...}/$*', is: 'ignored' },
    { topic: 'valetudo/{robot}/$*', is: 'ignored', about: 'what describes a robot' },
    { topic: 'valetudo/{robot}/{path...}', about: 'the value of each topic' },
  ],
}

/** The Homie convention: https://homieiot.github.io */
export const homie: Preset = {
  name: 'homie',
  title: 'Homie convention',
  topics: [
    {
      topic: 'homie/5/{device}/$description',
      is: 'description',
      about: 'names and units of a device, from version 5 on',
      describe: ({ topic, levels, payload }) => describeHomie5(topic, levels.device as string, payload),
    },
    { topic: 'homie/5/{device}/$state', about: 'the state of the device' },
    { topic: 'homie/5/{device}/$log/{level}', is: 'log', about: 'log' },
    { topic: 'homie/5/{device}/{path...}/$*', is: 'ignored' },
    {
      topic: 'homie/{device}/{node}/{property}/$unit',
      is: 'description',
      about: 'the unit of a property',
      describe: ({ topic, levels, payload }) =>
        describeProperty(topic, levels.device as string, { unit: String(payload) }),
    },
    {
      topic: 'homie/{device}/{node}/{property}/$name',
      is: 'description',
      about: 'the name of a property',
      describe: ({ topic, levels, payload }) =>
        describeProperty(topic, levels.device as string, { name: String(payload) }),
    },
    { topic: 'homie/{device}/{path...}/set', is: 'command', about: 'commands' },
    { topic: 'homie/{device}/$state', about: 'the state of the device' },
    { topic: 'homie/{device}/$*/{path...}', is: 'ignored' },
    { topic: 'homie/{device}/{path...}/$*', is: 'ignored' },
    { topic: 'homie/{device}/$*', is: 'ignored', about: 'what describes a device' },
  ],
}

/** ThingsBoard, from the gateway and from devices: https://thingsboard.io/docs/reference/mqtt-api/ */
export const thingsBoard: Preset = {
  name: 'thingsboard',
  title: 'ThingsBoard devices and gateway',
  topics: [
    { topic: 'v1/gateway/(connect|disconnect|claim|rpc|attributes/request|attributes/response)', is: 'log' },
    { topic: 'v1/devices/me/(rpc|attributes)/(request|response)/{id}', is: 'command', about: 'requests and answers' },
    {
      topic: 'v1/(gateway|devices/me)/(telemetry|attributes)',
      about: 'a field for each value, of the gateway with the name of its device before it',
    },
  ],
}

function describeHomie5(topic: string, device: string, payload: unknown): readonly DeviceDescription[] | undefined {
  if (!isMembers(payload) || !isMembers(payload.nodes)) return undefined
  const base = topic.slice(0, topic.lastIndexOf('/'))
  const entities = Object.entries(payload.nodes).flatMap(([node, described]) =>
    Object.entries(isMembers(described) && isMembers(described.properties) ? described.properties : {}).flatMap(
      ([id, property]) =>
        isMembers(property)
          ? [
              {
                ...{ topic: `${base}/${node}/${id}`, field: 'value' },
                ...{ name: textOf(property, 'name'), unit: textOf(property, 'unit') },
                ...(property.settable === true && { commandTopic: `${base}/${node}/${id}/set` }),
              },
            ]
          : [],
    ),
  )
  const controls = Object.entries(payload.nodes).flatMap(([node, described]) =>
    Object.entries(isMembers(described) && isMembers(described.properties) ? described.properties : {}).flatMap(
      ([id, property]) => homieControl(`${base}/${node}/${id}`, id, property),
    ),
  )
  return [
    {
      ...{ source: 'homie', id: device, name: textOf(payload, 'name') ?? device, base, entities },
      ...(controls.length > 0 && { controls }),
    },
  ]
}

/** Returns the control of a property that may be set: https://homieiot.github.io/specification/#property-attributes */
function homieControl(topic: string, id: string, property: unknown): readonly ControlDescription[] {
  if (!isMembers(property) || property.settable !== true) return []
  const format = textOf(property, 'format') ?? ''
  const common = { name: textOf(property, 'name') ?? id, topic: `${topic}/set`, state: { topic, field: 'value' } }
  switch (property.datatype) {
    case 'boolean': {
      const options = [
        { name: 'On', key: 'on', payload: 'true', value: true },
        { name: 'Off', key: 'off', payload: 'false', value: false },
      ]
      return [{ kind: 'switch', ...common, options }]
    }
    case 'enum':
      return [
        {
          ...({ kind: 'choice', ...common } as const),
          options: format.split(',').map(value => ({ name: value, payload: value, value: valueShown(value) })),
        },
      ]
    case 'integer':
    case 'float': {
      const [min, max, step = property.datatype === 'integer' ? 1 : 0.1] = format
        .split(':')
        .map(part => (part === '' ? undefined : Number(part)))
      if (min === undefined || max === undefined || ![min, max, step].every(Number.isFinite)) return []
      return [{ kind: 'slider', ...common, payload: '{value}', range: { min, max, step } }]
    }
    default:
      return []
  }
}

function describeProperty(
  topic: string,
  device: string,
  member: { readonly unit?: string; readonly name?: string },
): readonly DeviceDescription[] {
  const entity = { topic: topic.slice(0, topic.lastIndexOf('/')), field: 'value', ...member }
  return [{ source: 'homie', id: device, name: device, base: `homie/${device}`, entities: [entity] }]
}

/** Kepware's IoT gateway: https://support.ptc.com/help/kepware/features/en/kepware/features/IoT_GATEWAY/ */
export const kepware: Preset = {
  name: 'kepware',
  title: 'Kepware IoT Gateway',
  topics: [
    {
      topic: 'iotgateway',
      about: 'a field for each tag (`id`), with its own time (`t`); values of bad quality (`q`) are absent',
    },
    { topic: 'iotgateway/write', is: 'command', about: 'commands' },
  ],
}

/** openWB: https://github.com/snaptec/openWB */
export const openWb: Preset = {
  name: 'openwb',
  title: 'openWB',
  topics: [
    { topic: 'openWB/set/{path...}', is: 'command', about: 'commands' },
    { topic: 'openWB/{path...}/(*RfId|*rfid|*rfid_tag)', isText: true },
    { topic: 'openWB/{path...}', about: 'the value of each topic' },
  ],
}
