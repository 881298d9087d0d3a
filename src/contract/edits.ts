import { array, boolean, integer, number, object, string } from './schema.js'

/* Edits that people make and can take back: what answers say of them, and how a change is refused. */

const change = object({
  revision: integer(),
  by: string('User; empty without a login'),
  at: number(),
  what: string('Sentence for people'),
})

/** Member of an answer with edits: their version. */
export const editRevision = string('As in the header ETag, for If-Match')

/** Members of an answer with edits: the changes that led there. `edits`: what they are, in the plural. */
export const editHistory = (edits: string) => ({
  mayEdit: boolean(),
  undo: integer('Changes that can be undone'),
  changes: array(change, 'The latest first'),
  mistakes: array(string(), `Of the file; while there are any, the ${edits} from before are in force`),
})

/** Reasons for which a change of edits is refused, by HTTP status. */
export const editProblems = {
  409: 'The file has mistakes: mend it first',
  412: 'Somebody else has changed it since; the message says who, what and when',
}

/** Description of a change of edits. `edits`: what they are, in the plural. */
export const ifMatch = (edits: string) =>
  `With the header If-Match, the change is refused with 412 unless the ${edits} have that ETag.`
