import { parentPort, workerData } from 'node:worker_threads'
import { describe } from './errors.js'
import { Link } from './link.js'
import { yieldToBroker } from './priority.js'
import { processorOffers } from './processing.js'
import type { BrokerOffers, ProcessorThreadData } from './processor-offers.js'
import { ThreadExit } from './runtime/thread-exit.js'

/** The entry of the processor thread. */
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
