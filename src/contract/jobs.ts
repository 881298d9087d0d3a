import { mappingDiff } from './mapping.js'
import { boolean, integer, object, optional, string } from './schema.js'

/** The progress of a job, as a line of the answer. */
export const jobProgress = object({
  done: integer('Messages handled so far'),
  total: optional(integer('Estimated number of messages to handle, when known')),
  stored: integer(),
  dropped: integer(),
  kept: integer('Rejected again, or still in the dead letters'),
  finished: boolean(),
  diff: optional(mappingDiff),
  error: optional(string('Why the job ended early. Messages handled by then stay handled')),
})

/** Sentences on the answer, for the descriptions of the jobs' routes. */
export const progressDescription = 'Answers with a line of JSON at intervals, the progress. The last one is `finished`.'
