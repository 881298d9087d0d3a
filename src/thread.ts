import { parentPort, workerData } from 'node:worker_threads'
import { type BrokerOffers, type ProcessorThreadData, processorOffers } from './hub.js'
import { Link } from './link.js'

/** The entry of the processor thread. */
if (parentPort) {
  const link: Link<BrokerOffers> = new Link(
    parentPort,
    processorOffers(workerData as ProcessorThreadData, () => link),
  )
}
