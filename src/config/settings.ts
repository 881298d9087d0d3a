import { kafkaSettings } from './kafka-settings.js'
import { type KeepTimes, keepKind } from './keep.js'
import {
  duration,
  flag,
  integer,
  isNetwork,
  isOrigin,
  list,
  oneOf,
  portOrOff,
  row,
  type SettingRow,
  secret,
  size,
  text,
  timeZone,
  url,
  urls,
} from './kinds.js'
import { type MappingRule, mappingRules } from './mapping-rule.js'
import { type InletSetting, inletList, type OutletSetting, outletList } from './outlet-setting.js'

/** Words that say that there is no value. */
const usualAbsent: readonly string[] = [
  ...['-', '--', '---', 'n/a', 'n.a.', '#n/a', 'nan', '-nan', '+nan', 'inf', '-inf', '+inf', 'infinity', '-infinity'],
  ...[
    '+infinity',
    'null',
    '(null)',
    '<null>',
    'nil',
    '<nil>',
    'none',
    'undefined',
    'unknown',
    'unavailable',
    'not available',
  ],
]

export { type Environment, entryName, entryNameAllowed, FieldsReading, readEntries, SettingFields } from './fields.js'
export { type KeepTimes, keepAllowed, keepKind, keepTimes, ordered, showKeep, type Tier, tiers } from './keep.js'
export { duration, flag, integer, isTimeZone, oneOf, type SettingKind, showSize, showTime, size } from './kinds.js'
export type { DecoderName, ForcedType, MappingMistake, MappingRule, PlacedRule, RulePlace } from './mapping-rule.js'
export {
  fieldTagsOf,
  isFieldTag,
  isThinningRule,
  keptFields,
  microsOf,
  placedRules,
  ruleMistakes,
  timesOf,
} from './mapping-rule.js'
export type { InletSetting, OutletSetting } from './outlet-setting.js'

/** Units of the sample devices (`npm run devices`), which publish on the topics of the default mapping. */
const sampleUnits = {
  ...{ temperature: '°C', setpoint: '°C', humidity: '%', battery: '%', brightness: '%', illuminance: 'lx' },
  ...{ power: 'W', voltage: 'V', current: 'A', energy: 'kWh', co2: 'ppm', pm25: 'µg/m³' },
}

/** All settings. The types, the defaults, the checks, `--help` and docs/settings.md come from this table. */
export const settingsTable = {
  host: row(text('an address or host name', /^[\w.:-]+$/), '127.0.0.1', 'Address on which all ports listen.'),
  'mqtt.port': row(portOrOff, 1883, 'MQTT over TCP; 0 takes a free port.'),
  'mqtts.port': row(portOrOff, 'off', 'MQTT over TLS, usually 8883; 0 takes a free port. Needs tls.cert and tls.key.'),
  'http.port': row(
    integer(0, 65535),
    8080,
    'Port of the dashboard, the API, the metrics, and MQTT over WebSocket on /mqtt, / and /ws; 0 takes a free port.',
  ),
  'http.connections': row(
    integer(1, 1_000_000),
    1_000,
    'HTTP connections at a time, without WebSockets. When there are more, the one that has been idle longest is closed.',
  ),
  'http.address': row(
    integer(1, 1_000_000),
    250,
    'HTTP connections of one address, or of one IPv6 /64, at a time. Proxies in proxy.trusted are not limited.',
  ),
  'http.frames': row(
    list(
      site => site === 'self' || isOrigin(site),
      'self, * or origins such as https://example.org, with commas between',
    ),
    [],
    'Sites whose pages may show the dashboard in a frame: self, origins, or * for every site. Empty: none may.',
  ),
  'tls.cert': row(
    text('a file', /^[^\0]*$/),
    '',
    'Certificate chain (PEM). It makes http.port https and wss, and allows mqtts.port. A change of the file acts at once.',
  ),
  'tls.key': row(text('a file', /^[^\0]*$/), '', 'Private key (PEM) of tls.cert.'),
  'tls.ca': row(
    text('a file', /^[^\0]*$/),
    '',
    'Certificates (PEM) of the authorities that must have signed the certificates of clients on mqtts.port. Empty: no client is asked for a certificate. https and wss never ask for one.',
  ),
  'tls.crl': row(
    text('a file', /^[^\0]*$/),
    '',
    'With tls.ca: certificate revocation lists (PEM), one of each authority in tls.ca and of each between it and a client. A client whose authority has no list, or an expired one, is refused. A change of the file acts at once, also on open connections.',
  ),
  'tls.clients': row(
    oneOf('required', 'optional'),
    'required',
    'With tls.ca: whether an MQTT client must present a certificate, or may log in with a password instead.',
  ),
  'tls.hsts': row(
    duration,
    0,
    'With tls.cert: how long browsers may reach this host name only over HTTPS, on all its ports (Strict-Transport-Security). 0s: the header is not sent.',
  ),
  'data.dir': row(
    text('a folder', /^[^\0]+$/),
    './data',
    'Folder in which the hub keeps everything. One hub at a time may use it.',
  ),
  'rabbitmq.url': row(
    urls('amqp:', 'amqps:'),
    [],
    'RabbitMQ to which messages are bridged. Several: the nodes of one cluster, tried in turn, the first one first. Empty: only the embedded queue is used.',
  ),
  'rabbitmq.channels': row(
    integer(1, 1_000),
    32,
    'Channels on which the messages for other consumers are published, those of a client always on the same one. 1: all in the order in which the hub received them.',
  ),
  'rabbitmq.window': row(
    integer(1, 100_000),
    2_000,
    'Messages that may be on their way to RabbitMQ without a confirm.',
  ),
  'rabbitmq.prefetch': row(
    integer(1, 65_535),
    10_000,
    'Messages that the record consumer may have taken from RabbitMQ without acknowledging them.',
  ),
  'rabbitmq.envelope': row(
    oneOf('message', 'batch'),
    'message',
    'The hub stores from batches of many messages. message: each message is also an AMQP message of its own on telehub.telemetry, for other consumers. batch: it is not, which is faster.',
  ),
  'rabbitmq.headers': row(
    oneOf('full', 'lean'),
    'full',
    'Headers of the messages on telehub.telemetry. full: all. lean: without topic and sequence, which routing key and message id say, and without QoS, retain flag, client and user.',
  ),
  'rabbitmq.record': row(
    flag,
    true,
    'Whether this hub stores the messages of the queue telehub.record. false leaves that to telehub process on other machines.',
  ),
  ...kafkaSettings,
  'cluster.name': row(
    text('empty, or a name of at most 60 letters, digits, dots and hyphens', /^[\w.-]{0,60}$/),
    '',
    'Name of the cluster that this hub and others on the same RabbitMQ are. Needs influx.url, one InfluxDB for all. Empty: this hub is alone.',
  ),
  'cluster.address': row(
    url('http:', 'https:'),
    '',
    'Address of this hub for people, as the other hubs show it. Empty: the name of the machine with http.port.',
  ),
  'influx.url': row(
    url('http:', 'https:'),
    '',
    'InfluxDB 1.x, 2.x or 3.x with the database or bucket as path. Empty: readings are stored in the embedded DuckDB.',
  ),
  'influx.token': row(
    secret,
    '',
    'API token of InfluxDB 2.x or 3.x, in place of user and password in influx.url. It is shown nowhere; better given by the environment than by a flag.',
  ),
  'influx.org': row(text(), '', 'Organisation of InfluxDB 2.x that the bucket belongs to: its name.'),
  'influx.bucket': row(
    text(),
    '',
    'Name of the bucket or database. Then all of the path in influx.url is that of a proxy. Empty: the last part of the path, or telehub.',
  ),
  'influx.retention': row(
    oneOf('own', 'alter'),
    'own',
    'Which default retention policy of InfluxDB 1.x, or time of a bucket of 2.x, store.keep may change. own: one that keeps everything, or whose duration the hub has set. alter: also one whose duration somebody else has set.',
  ),
  'store.keep': row(
    keepKind,
    {} as KeepTimes,
    'How long readings are kept: raw=90d for readings as stored, 1m, 1h and 1d for their roll-ups; forever is a time, too. What is not named is kept for ever. Rules of the mapping may say otherwise (keep). A shorter time acts after an hour.',
  ),
  'store.limit': row(
    size(0),
    0,
    'Size of the embedded store. At 90 % an alarm is raised; beyond the limit the oldest days of raw readings are deleted. 0B: no limit.',
  ),
  'export.nightly': row(
    text('a folder', /^[^\0]*$/),
    '',
    'Folder to which the readings of each day of UTC are written an hour after its end, as Parquet by measurement and day. History reads them where store.keep has deleted the readings (docs/data.md). Embedded store only. Empty: nothing is written.',
  ),
  'auth.file': row(
    text('a file', /^[^\0]*$/),
    '',
    'File with the users and their rules, as telehub user writes it. Empty: no client is asked who it is. A change acts within a second or two.',
  ),
  'auth.anonymous': row(
    flag,
    false,
    'Without auth.file: lets every client in, although host is not a loopback address. With auth.file: a client that gives no name is the user anonymous of that file.',
  ),
  'auth.attempts': row(
    integer(1, 1_000_000),
    20,
    'Failed attempts that one address may make with one name in a minute. Further attempts are rejected without checking the password.',
  ),
  'auth.banAfter': row(
    integer(1, 1_000_000),
    100,
    'Failed attempts within ten minutes, with whatever names, after which an address (of IPv6: its first 64 bits) is banned.',
  ),
  'auth.ban': row(
    duration,
    600_000,
    'How long a ban lasts. Each further ban of the same address lasts twice as long, up to a day. 0s: no address is banned. This machine and the proxies in proxy.trusted are never banned.',
  ),
  'auth.login': row(duration, 30 * 864e5, 'How long the login of a browser lasts while it is not used.'),
  'auth.loginMax': row(
    duration,
    90 * 864e5,
    'How long the login of a browser lasts in all, however often it is used. 0s: no limit.',
  ),
  'audit.limit': row(
    size(100_000),
    64e6,
    'Size of the audit log in data.dir/audit (who logged in, was refused, changed something). Beyond it the oldest file is deleted.',
  ),
  'commands.expiry': row(
    duration,
    30_000,
    'How long a command waits for its device, unless whoever sends it says otherwise. After that it is never sent.',
  ),
  'spool.fsync': row(
    oneOf('group', 'interval'),
    'group',
    'group: messages are synced to disk before PUBACK. interval: they are synced once a second.',
  ),
  'spool.segment': row(size(65_536), 32e6, 'Size of one segment file of the spool.'),
  'spool.limit': row(
    size(1e6),
    10e9,
    'Size of the spool. At this size the hub refuses publishes; devices keep them and send them again.',
  ),
  'spool.alarm': row(integer(1, 100), 80, 'Percent of spool.limit at which an alarm is raised.'),
  'spool.rate': row(
    integer(0, 100_000_000),
    0,
    'Messages a second at which a backlog is drained, in addition to those that arrive meanwhile. 0: as fast as the target takes them.',
  ),
  'spool.keep': row(
    duration,
    0,
    'How long messages stay in the spool after they were passed on, for telehub spool replay.',
  ),
  'spool.keepBytes': row(
    size(0),
    1e9,
    'Size of the messages kept by spool.keep. The spool never keeps more than half of spool.limit in all.',
  ),
  'spool.archive': row(
    duration,
    0,
    'How long messages are kept compressed in data.dir/archive after the spool has let go of them (30d: a month). 0s: not at all. telehub spool replay and telehub map diff read both.',
  ),
  'spool.archiveBytes': row(
    size(1e6),
    10e9,
    'Size of the archive, compressed. Beyond it the oldest segments are deleted; on a full disk, too, before the spool refuses.',
  ),
  'dead.limit': row(
    size(1e6),
    1e9,
    'Size of the dead letters without RabbitMQ. Beyond it the oldest ones of the user with the most for its share are deleted (without auth.file the oldest of all), and counted as dropped.',
  ),
  'alerts.file': row(
    text('a file', /^[^\0]*$/),
    '',
    'File with the alert rules. Empty: alerts.yaml in data.dir, if that exists. A change acts within a second or two.',
  ),
  'limits.connections': row(
    integer(1, 1_000_000),
    10_000,
    'MQTT connections at a time. When there are more, the one that has been waiting longest for its CONNECT is closed.',
  ),
  'limits.address': row(
    integer(1, 1_000_000),
    5_000,
    'MQTT connections of one address, or of one IPv6 /64, at a time.',
  ),
  'limits.connect': row(
    duration,
    10_000,
    'Time from the connection to its CONNACK; three times as long while the client waits for the hub, and unlimited while a start restores its session.',
  ),
  'limits.hello': row(size(64), 65_536, 'Largest MQTT packet that a client may send before its CONNECT is accepted.'),
  'limits.helloMemory': row(
    size(65_536),
    64e6,
    'Bytes that all clients whose CONNECT is not yet accepted may have sent together. Beyond it one that has sent much is disconnected.',
  ),
  'limits.packet': row(
    size(128),
    4e6,
    'Largest MQTT packet a client may send. What Zigbee2MQTT tells of its devices takes 1 MB for some 300 of them.',
  ),
  'limits.inflight': row(
    integer(1, 65_535),
    1_000,
    'Publishes of one connection that may wait for the disk. With more the connection is not read.',
  ),
  'limits.inflightBytes': row(size(1_024), 4e6, 'Bytes of the publishes of one connection that may wait for the disk.'),
  'limits.messages': row(
    integer(0, 1_000_000_000),
    0,
    'Publishes of one connection in a second. Further ones wait in the socket. 0: no limit.',
  ),
  'limits.bytes': row(
    size(0),
    0,
    'Bytes of one connection in a second. Further ones wait in the socket. 0B: no limit.',
  ),
  'limits.keepalive': row(
    duration,
    0,
    'Longest keep alive. It is applied to a client that asks for a longer one, or for none. 0s: no limit.',
  ),
  'limits.aliases': row(
    integer(0, 1_000),
    64,
    'Topic aliases of one MQTT 5 connection in each direction. A topic with an alias takes two bytes after its first use.',
  ),
  'limits.outbox': row(
    size(1_024),
    1e6,
    'Bytes that may wait for one slow subscriber. Beyond it the newest message of each retained topic waits, and of the others if the subscriber asks for that; any other QoS 0 message is dropped and counted.',
  ),
  'limits.conflated': row(
    size(1_024),
    8e6,
    'Bytes of QoS 0 messages that may wait for one slow subscriber that asks for the newest of each topic. Retained messages do not count. Beyond it the oldest is dropped and counted.',
  ),
  'limits.stuck': row(
    duration,
    10_000,
    'How long a subscriber may read nothing while its outbox is full. Then it is disconnected.',
  ),
  'limits.window': row(
    integer(1, 65_535),
    100,
    'QoS 1 and 2 deliveries to one client that may be unacknowledged. Further ones wait in its queue.',
  ),
  'limits.subscriptions': row(integer(1, 1_000_000), 10_000, 'Subscriptions of one client.'),
  'limits.wildcards': row(
    integer(0, 1_000_000),
    1_000,
    'Subscriptions of one client with + or #. A user may have a limit of its own.',
  ),
  'limits.allSubscriptions': row(integer(1, 100_000_000), 1_000_000, 'Subscriptions of all clients together.'),
  'limits.allWildcards': row(integer(0, 100_000_000), 100_000, 'Subscriptions of all clients together with + or #.'),
  'limits.plusLevels': row(
    integer(0, 32),
    8,
    'Levels of one topic filter that may be +. Each one makes matching slower.',
  ),
  'limits.share': row(
    integer(1, 100),
    10,
    'Percent of everything that all users share (connections, sessions, retained messages, series, …) that is guaranteed to each user. A user beyond its share uses what others leave: it loses first, or gets no more once half of all is taken. A user may have a share of its own. Without auth.file all clients are one user.',
  ),
  'limits.commands': row(
    integer(1, 100_000),
    1_000,
    'Commands of one user that may be under way at a time. All users together may have 100,000.',
  ),
  'limits.jsonDepth': row(
    integer(1, 100),
    16,
    'Levels of nesting that a JSON payload may have. A deeper one is a dead letter.',
  ),
  'limits.jsonFields': row(
    integer(1, 100_000),
    2_000,
    'Fields that one reading in a JSON payload may have. A payload with more is a dead letter.',
  ),
  'limits.inflated': row(
    size(1_000),
    4e6,
    'Largest size of a payload of gzip or zlib once decompressed. A larger one is a dead letter.',
  ),
  'limits.series': row(
    integer(0, 100_000_000),
    1_000_000,
    'Series (each is a field of a device) in all. A message that would begin more is a dead letter (too_many_series). Half of them may be taken by any user; of the other half each user is guaranteed its share (limits.share). 0: no limit.',
  ),
  'limits.seriesPerMinute': row(
    integer(0, 1_000_000_000),
    600_000,
    'Series that may begin in a minute, in all, shared between users as limits.series is. 0: no limit.',
  ),
  'limits.queue': row(
    integer(1, 1_000_000),
    10_000,
    'QoS 1 and 2 messages kept for one session. Beyond it the oldest is deleted and counted.',
  ),
  'limits.queueBytes': row(size(1_024), 64e6, 'Bytes of the messages kept for one session.'),
  'limits.queueMemory': row(
    size(1_048_576),
    128e6,
    'Bytes of queued messages of all sessions together that may wait in memory. Further ones wait on disk.',
  ),
  'limits.queueAge': row(duration, 0, 'How long a message is kept for a session. 0s: as long as the session.'),
  'limits.sessions': row(
    integer(1, 10_000_000),
    100_000,
    'Sessions that are kept. Beyond it the session of an absent client is deleted and counted: the oldest of the user with the most for its share.',
  ),
  'limits.sessionAge': row(duration, 30 * 864e5, 'How long the session of an absent client is kept. 0s: forever.'),
  'limits.feeds': row(
    integer(1, 1_000_000),
    1_000,
    'Open feeds of one user: /api/live, $hub/history and Socket.IO subscriptions. Beyond it a feed is refused.',
  ),
  'limits.retained': row(
    integer(1, 100_000_000),
    1_000_000,
    'Retained messages. Beyond it a message on a new topic is delivered but not retained, and counted.',
  ),
  'limits.retainedBytes': row(size(1_024), 256e6, 'Bytes of all retained messages.'),
  'limits.shadows': row(
    integer(1, 10_000_000),
    100_000,
    'Shadows ($aws/things/…): desired and reported state of devices. Beyond it an update that makes a new one is rejected. Half of them are for users within their share.',
  ),
  'limits.shadowBytes': row(size(65_536), 256e6, 'Bytes of all shadows with their metadata.'),
  'proxy.trusted': row(
    list(isNetwork, 'addresses or networks such as 10.0.0.7, 10.0.0.0/8 or ::1, with commas between'),
    [],
    'Proxies whose X-Forwarded-For on http.port is trusted to name the client.',
  ),
  'proxy.protocol': row(
    flag,
    false,
    'Whether connections of the proxies in proxy.trusted to mqtt.port and mqtts.port begin with PROXY protocol v1 or v2.',
  ),
  'ws.origins': row(
    list(isOrigin, '* or origins such as https://example.org, with commas between'),
    [],
    'Other origins whose pages may open a WebSocket, and ask the HTTP API with an API key (CORS); * is every one. The dashboard always may.',
  ),
  'ws.ping': row(
    duration,
    30_000,
    'Interval of pings to WebSockets. A WebSocket that has not answered a ping by the next one is closed. 0s: no pings.',
  ),
  'sys.interval': row(duration, 10_000, 'Interval at which the statistics under $SYS are published. 0s: never.'),
  'sys.read': row(oneOf('all', 'none'), 'all', 'Who may subscribe to $SYS.'),
  'sparkplug.rebirth': row(
    flag,
    true,
    'Whether edge nodes of Sparkplug B are asked for their births (NCMD, Node Control/Rebirth) when messages are missing or data cannot be read without: after 5 s, then at most once a minute, less and less often.',
  ),
  'sparkplug.host': row(
    text('a name without / + #', /^[^\0/+#]*$/),
    '',
    'Name of the hub as a host application of Sparkplug B: spBv1.0/STATE/NAME says whether it is online, for edge nodes that wait for their primary host. Empty: no state is published.',
  ),
  mapping: row(
    mappingRules,
    [
      { topic: 'home/{room}/{device}/telemetry', measurement: 'telemetry', units: sampleUnits },
      { topic: 'home/{room}/{device}/status', measurement: 'status' },
    ] as readonly MappingRule[],
    'Rules by which topics become measurement, tags and fields, before the presets. The first rule that matches wins.',
  ),
  'presets.off': row(
    list(name => /^[a-z][\w-]*$/.test(name), 'names of presets (docs/devices.md), or all, with commas between'),
    [],
    'Presets that are switched off. They say what the topics of many devices and programs mean.',
  ),
  'time.zone': row(
    timeZone,
    'auto',
    'Time zone of times in payloads that name none. auto: the zone of this machine; a device whose clock then is wrong by whole quarters of an hour is in another zone.',
  ),
  'values.absent': row(
    list(word => word.length <= 16, 'words with commas between'),
    usualAbsent,
    'Words that say that there is no value, in any case. They are not stored, unless the field has other texts.',
  ),
  inlets: row(
    inletList,
    [] as readonly InletSetting[],
    'Other MQTT brokers whose messages are published here: a list of name, url and topics (docs/bridge.md). The other broker keeps the session while the hub is away. A change needs a restart.',
  ),
  outlets: row(
    outletList,
    [] as readonly OutletSetting[],
    'Other systems that get what devices publish, each at its own pace: a list of name, kind, topics and what the kind needs (docs/outlets.md). An outlet that is taken out is forgotten, with what it had not had yet.',
  ),
  'notify.file': row(
    text('a file', /^[^\0]*$/),
    '',
    'File with the targets of notifications and their routes, of mode 0600 (docs/notifications.md). Empty: notify.yaml in data.dir if there is one; otherwise browsers that subscribe receive warnings and critical alerts. A change acts within a second or two.',
  ),
  'otel.url': row(
    url('http:', 'https:'),
    '',
    'Collector of OpenTelemetry (OTLP over HTTP, JSON), such as http://127.0.0.1:4318. Messages with a sampled traceparent, as MQTT 5 user property, get spans there. Empty: none are sent.',
  ),
  'otel.percent': row(integer(0, 100), 100, 'Percent of the sampled traces whose spans are sent to otel.url.'),
  'log.level': row(
    oneOf('trace', 'debug', 'info', 'warn', 'error', 'silent'),
    'info',
    'Least severe level that is logged, to stderr.',
  ),
  'log.format': row(oneOf('auto', 'text', 'json'), 'auto', 'auto is text on a terminal, and JSON lines otherwise.'),
  'start.wait': row(
    duration,
    2_000,
    'How long a start waits for kept sessions and retained messages to be restored. After that publishes are taken meanwhile, and clients that need their session wait.',
  ),
  'shutdown.timeout': row(duration, 10_000, 'How long a stop may take before it is forced.'),
}

export type SettingKey = keyof typeof settingsTable
export type Settings = { readonly [K in SettingKey]: (typeof settingsTable)[K] extends SettingRow<infer T> ? T : never }

/** Returns the InfluxDB that the settings name, and who asks there. */
export function influxAddress(settings: Settings) {
  return {
    url: settings['influx.url'],
    token: settings['influx.token'],
    org: settings['influx.org'],
    bucket: settings['influx.bucket'],
  }
}
