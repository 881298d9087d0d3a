import type { PublishSink } from '../model.js'
import type { PublishReader } from '../mqtt/publish.js'
import type { DebugLog } from '../observe/log.js'
import type { MicrosecondClock } from '../runtime/time.js'
import type { Sessions } from '../sessions/sessions.js'
import type { AccessPolicy } from './access-policy.js'
import type { AedesHandshake } from './aedes-handshake.js'
import type { BridgeStates } from './bridge-states.js'
import type { CommandPort } from './command-port.js'
import type { DeliverySpans } from './delivery-spans.js'
import type { HistoryFeeds } from './history-feeds.js'
import type { LoopGuard } from './loop-guard.js'
import type { Presence } from './presence.js'
import type { RefusalNotices } from './refusal-notices.js'
import type { Restoration } from './restoration.js'
import type { TopicServices } from './topic-services.js'

/** Limits of each client, as CONNACK of MQTT 5 announces them. */
export interface ClientLimits {
  /** QoS 1 and 2 publishes of one client without an acknowledgement. */
  readonly receiveMaximum: number
  /** Bytes of the largest packet. */
  readonly maximumPacketSize: number
  /** Topic aliases, in each direction. */
  readonly topicAliasMaximum: number
  /** Seconds that a session is kept; Infinity: for ever. */
  readonly sessionExpiry: number
}

/** The parts of the broker that the handlers of packets use. */
export interface BrokerParts {
  readonly policy: AccessPolicy
  readonly presence: Presence
  readonly refusals: RefusalNotices
  readonly bridges: BridgeStates
  readonly loops: LoopGuard
  readonly sessions: Sessions
  readonly handshake: AedesHandshake
  readonly restoration: Pick<Restoration, 'isOver' | 'afterwards' | 'delays' | 'wait'>
  readonly limits: ClientLimits
  /** The reader that all clients share. */
  readonly reader: PublishReader
  readonly clock: MicrosecondClock
  readonly log: Pick<DebugLog, 'debug'>
  /** Undefined before the hub has started. */
  feeds: HistoryFeeds | undefined
  /** Undefined before the hub has started. */
  commands: CommandPort | undefined
  readonly sink: Pick<PublishSink, 'accept'>
  /** Undefined without a collector of spans. */
  readonly spans: DeliverySpans | undefined
  readonly services: TopicServices
  /** Called when a QoS 0 delivery is larger than the client takes. */
  tooLarge(clientId: string): void
}
