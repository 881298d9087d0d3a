import type { Preset } from './preset.js'

/** The Things Stack: https://www.thethingsindustries.com/docs/integrations/pubsub/mqtt/ */
export const theThingsStack: Preset = {
  name: 'ttn',
  title: 'The Things Stack (TTN v3)',
  topics: [
    { topic: 'v3/{app}/devices/{device}/down/(push|replace)', is: 'command', about: 'downlinks' },
    {
      topic: 'v3/{app}/devices/{device}/(down|queue)/(queued|sent|ack|nack|failed|invalidated|refreshed)',
      is: 'log',
    },
    {
      topic: 'v3/{app}/devices/{device}/join',
      is: 'log',
      about: 'joins, and what becomes of downlinks',
    },
    { topic: 'v3/{app}/devices/{device}/service/data', is: 'log' },
    {
      topic: 'v3/{app}/devices/{device}/location/solved',
      time: ['received_at'],
      strip: ['location_solved.'],
      drop: ['correlation_ids', 'correlation_ids.*', '*received_at', '*.service_data.*'],
    },
    {
      topic: 'v3/{app}/devices/{device}/up',
      time: ['received_at', 'uplink_message.received_at'],
      strip: ['uplink_message.decoded_payload.'],
      drop: [
        ...['correlation_ids', 'correlation_ids.*', 'received_at', '*received_at', '*.frm_payload', '*.session_key_id'],
        ...[
          '*.uplink_token',
          '*rx_metadata*.timestamp',
          '*rx_metadata*.time',
          '*rx_metadata*.gps_time',
          '*.packet_broker.*',
        ],
        ...['uplink_message.settings.timestamp', 'uplink_message.settings.time', '*.version_ids.*', '*.network_ids.*'],
        ...[
          'uplink_message.normalized_payload*',
          '*rx_metadata*.location.*',
          'uplink_message.locations.*',
          '*.consumed_airtime',
        ],
      ],
      about: 'a field for each value that the payload formatter decodes, and what the gateways measured',
    },
  ],
}

const chirpStackUplink = {
  time: ['time', 'publishedAt', 'rxInfo.0.nsTime', 'rxInfo.0.time', 'rxInfo.0.gwTime'],
  strip: ['object.', 'objectJSON.'],
  drop: [
    ...['rxInfo.*.time', 'rxInfo.*.uplinkID', 'publishedAt', 'applicationName', 'tags.*'],
    ...['deduplicationId', 'data', 'deviceInfo.tags.*', 'deviceInfo.tenant*', 'deviceInfo.application*'],
    ...['deviceInfo.deviceProfile*', '*.context', '*.uplinkId', '*.crcStatus', '*.metadata.*', '*.nsTime', '*.gwTime'],
    ...['*.location.*', '*.timeSinceGpsEpoch'],
  ],
}

/** ChirpStack 3 and 4: https://www.chirpstack.io/docs/chirpstack/integrations/mqtt.html */
export const chirpStack: Preset = {
  name: 'chirpstack',
  title: 'ChirpStack 3 and 4',
  topics: [
    { topic: 'application/{app}/device/{eui}/command/{command}', is: 'command', about: 'downlinks' },
    { topic: 'application/{app}/device/{eui}/event/log', is: 'log' },
    {
      topic: 'application/{app}/device/{eui}/event/(join|ack|txack)',
      is: 'log',
      about: 'log, joins and acknowledgements',
    },
    {
      topic: 'application/{app}/(device|node)/{eui}/(join|ack|error|txack|tx)',
      is: 'log',
    },
    { topic: 'application/{app}/(device|node)/{eui}/rx', ...chirpStackUplink },
    {
      topic: 'application/{app}/device/{eui}/event/(up|status|location|integration)',
      ...chirpStackUplink,
      about: 'a field for each value that the codec decodes, and what the gateways measured',
    },
    { topic: '{region}/gateway/{gateway}/(event|command|state)/{type}', is: 'ignored' },
    {
      topic: 'gateway/{gateway}/(event|command|state)/{type}',
      is: 'ignored',
      about: 'frames between gateways and ChirpStack',
    },
  ],
}

/** Meshtastic: https://meshtastic.org/docs/software/integrations/mqtt/ */
export const meshtastic: Preset = {
  name: 'meshtastic',
  title: 'Meshtastic',
  note: 'Switch on JSON output at the gateway.',
  topics: [
    { topic: 'msh/{region...}/2/(e|c|map)/{channel...}', is: 'ignored', about: 'encrypted packets' },
    { topic: 'msh/{region...}/2/json/mqtt', is: 'command', about: 'messages to be sent' },
    {
      topic: 'msh/{region...}/2/json/{channel}/{node}',
      time: ['timestamp'],
      tags: ['from'],
      strip: ['payload.'],
      drop: ['id', 'to', 'channel', 'hop_start', 'hops_away', 'payload.time'],
      about: 'a field for each value; `from` is the node',
    },
  ],
}
