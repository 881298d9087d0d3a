import { parentPort, workerData } from 'node:worker_threads'
import { Link } from './link.js'
import { yieldToBroker } from './priority.js'
import { type BrokerOffers, type ProcessorThreadData, processorOffers } from './processing.js'

/** The entry of the processor thread. */
if (parentPort) {
  yieldToBroker(10)
  const link: Link<BrokerOffers> = new Link(
    parentPort,
    processorOffers(workerData as ProcessorThreadData, () => link),
  )
}
