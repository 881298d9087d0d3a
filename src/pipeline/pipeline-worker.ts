import { parentPort, workerData } from 'node:worker_threads'
import { describe } from '../errors.js'
import { yieldToBroker } from '../runtime/priority.js'
import { ThreadExit } from '../runtime/thread-exit.js'
import { Link } from '../runtime/worker-link.js'
import { processorOffers } from './processor-offers.js'
import type { BrokerOffers, ProcessorThreadData } from './thread-ports.js'

/** Entry of the processor thread. */
if (parentPort) {
  yieldToBroker(10)
  const exit = new ThreadExit()
  const link: Link<BrokerOffers> = new Link(
    parentPort,
    processorOffers(workerData as ProcessorThreadData, () => link, exit),
  )
  exit.onUncaught(error => {
    link.tell('dying', describe(error))
    link.cut()
  })
}
