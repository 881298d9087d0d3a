/** Parts of the sum that the messages received are, in the order of a message's way. */
export const parts = ['stored', 'spool', 'queue', 'dead', 'dropped', 'refused'] as const
export type Part = (typeof parts)[number]
