import { readlinkSync } from 'node:fs'
import { setPriority } from 'node:os'
import { parentPort, workerData } from 'node:worker_threads'
import { Link } from './link.js'
import { type BrokerOffers, type ProcessorThreadData, processorOffers } from './processing.js'

/** The entry of the processor thread. */
if (parentPort) {
  yieldToBroker()
  const link: Link<BrokerOffers> = new Link(
    parentPort,
    processorOffers(workerData as ProcessorThreadData, () => link),
  )
}

/**
 * Where processors are short, acknowledging comes before processing, which the spool lets wait. Linux has a priority
 * for each thread, and the threads this one starts inherit it; elsewhere nothing is done.
 */
function yieldToBroker(): void {
  try {
    const thread = Number(readlinkSync('/proc/thread-self').split('/').at(-1))
    setPriority(thread, 10)
  } catch {
    // No Linux, or not allowed: a matter of speed alone.
  }
}
