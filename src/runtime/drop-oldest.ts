/** A map or a set. Both keep the order in which their entries were added. */
interface Ordered<Key> {
  readonly size: number
  keys(): Iterator<Key>
  delete(key: Key): boolean
}

/** Deletes the entries of a map or set that were added first, until at most `most` are left. */
export function dropOldest<Key>(all: Ordered<Key>, most: number): void {
  while (all.size > most) all.delete(all.keys().next().value as Key)
}
