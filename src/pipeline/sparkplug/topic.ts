/** A topic of Sparkplug B: `spBv1.0/{group}/{type}/{edge node}/{device}`. */
export interface SparkplugTopic {
  readonly type: SparkplugType
  /** `{group}/{edge node}`, which names an edge node. */
  readonly node: string
  /** Undefined for messages of the edge node itself. */
  readonly device: string | undefined
}

const types = ['NBIRTH', 'NDEATH', 'NDATA', 'NCMD', 'DBIRTH', 'DDEATH', 'DDATA', 'DCMD'] as const
export type SparkplugType = (typeof types)[number]

const namespace = 'spBv1.0/'

/** Returns the parts of a topic of Sparkplug B. Undefined for any other topic, and for `spBv1.0/STATE/…`. */
export function parseSparkplugTopic(topic: string): SparkplugTopic | undefined {
  if (!topic.startsWith(namespace)) return undefined
  const [, group, type, edge, device, ...more] = topic.split('/')
  if (!group || !edge || more.length > 0 || !isType(type)) return undefined
  if (type.startsWith('D') !== (device !== undefined && device !== '')) return undefined
  return { type, node: `${group}/${edge}`, device }
}

function isType(text: string | undefined): text is SparkplugType {
  return types.some(type => type === text)
}

/**
 * Returns the topic to which the readings of a message belong. That is the message's own topic, but a birth and a death
 * belong to the topic of the data that they are about.
 */
export function readingTopic(topic: string): string {
  if (!topic.startsWith(namespace)) return topic
  const parsed = parseSparkplugTopic(topic)
  if (!parsed) return topic
  const [group, edge] = parsed.node.split('/')
  return `${namespace}${group}/${parsed.type[0]}DATA/${edge}${parsed.device === undefined ? '' : `/${parsed.device}`}`
}

/** Returns the topic of commands to an edge node. */
export function commandTopic(node: string): string {
  const [group, edge] = node.split('/')
  return `${namespace}${group}/NCMD/${edge}`
}

export function stateTopic(host: string): string {
  return `${namespace}STATE/${host}`
}
