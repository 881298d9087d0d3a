import type { Uplink } from './codec.js'
import { isTreeObject, type Tree, type TreeObject } from './tree.js'

/*
 * Uplinks of LoRaWAN network servers: JSON around the bytes that a device has sent.
 *
 *   The Things Stack 3   uplink_message { f_port, frm_payload (base64), decoded_payload }, received_at
 *   ChirpStack 4         fPort, data (base64), object, time
 *   ChirpStack 3         fPort, data (base64), objectJSON, or object
 */

/** An uplink whose bytes are not decoded yet, and the way to put in what a codec finds. */
export interface OpenUplink {
  readonly uplink: Uplink
  readonly complete: (decoded: Tree) => Tree
}

/**
 * Returns the bytes in the JSON of a network server that a codec has yet to decode. Undefined when the server has
 * decoded them, and when there are none: a join, a status, an acknowledgement.
 */
export function openUplink(tree: Tree, receivedAt: number): OpenUplink | undefined {
  if (!isTreeObject(tree)) return undefined
  const inner = tree.uplink_message
  if (isTreeObject(inner)) {
    if (isFilled(inner.decoded_payload)) return undefined
    return open(
      inner.frm_payload,
      inner.f_port,
      timeOf(inner.received_at ?? tree.received_at, receivedAt),
      {},
      decoded => ({
        ...tree,
        uplink_message: { ...inner, decoded_payload: decoded },
      }),
    )
  }
  if (isFilled(tree.object) || isFilled(tree.objectJSON)) return undefined
  const info = tree.deviceInfo
  const variables = isTreeObject(tree.variables) ? tree.variables : isTreeObject(info) ? info.variables : undefined
  return open(
    tree.data,
    tree.fPort,
    timeOf(tree.time, receivedAt),
    isTreeObject(variables) ? variables : {},
    decoded => ({
      ...tree,
      object: decoded,
    }),
  )
}

function isFilled(tree: Tree | undefined): boolean {
  if (typeof tree === 'string') return tree !== '' && tree !== '{}'
  return isTreeObject(tree) && Object.keys(tree).length > 0
}

function open(
  data: Tree | undefined,
  port: Tree | undefined,
  recvTime: number,
  variables: TreeObject,
  complete: OpenUplink['complete'],
): OpenUplink | undefined {
  if (typeof data !== 'string' || !/^[A-Za-z0-9+/_-]*={0,2}$/.test(data)) return undefined
  const fPort = typeof port === 'number' ? port : 0
  return { uplink: { bytes: Buffer.from(data, 'base64'), fPort, recvTime, variables }, complete }
}

/** Returns milliseconds since the epoch. */
function timeOf(text: Tree | undefined, receivedAt: number): number {
  const parsed = typeof text === 'string' ? Date.parse(text) : Number.NaN
  return Number.isNaN(parsed) ? Math.floor(receivedAt / 1_000) : parsed
}
