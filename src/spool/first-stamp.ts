import type { CursorPlace } from './cursor-file.js'
import type { PastSource } from './history.js'
import { decodeMessage } from './message-codec.js'
import { segmentHeaderBytes } from './segment-file.js'
import { SegmentReader } from './segment-reader.js'
import type { SpoolPosition } from './spool.js'

/**
 * Returns when the next message from a place on was received. When the message cannot be read, returns about when.
 *
 * @param position End of what is committed
 */
export async function firstStamp(
  { segment, offset }: CursorPlace,
  { dir, files, segments }: Pick<PastSource, 'dir' | 'files' | 'segments'>,
  position: SpoolPosition,
): Promise<number | undefined> {
  const reader = new SegmentReader(dir, files)
  try {
    for (let at: number | undefined = segment; at !== undefined; at = segments.after(at)?.segment) {
      const end = at === position.segment ? position.end : reader.size(at)
      const begin = at === segment ? offset : segmentHeaderBytes
      if (begin >= end) continue
      const damaged = await reader.load(at, begin, end)
      const frame = reader.at(at, begin + damaged)
      const message = frame && decodeMessage(frame.body)
      if (message) return message.receivedAt
    }
    return undefined
  } catch {
    return segments.after(segment)?.before
  } finally {
    reader.close()
  }
}
