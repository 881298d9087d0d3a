import t from 'tap'
import type { PendingPublish } from '../../src/model.js'
import type { UserShares } from '../../src/runtime/user-shares.js'
import { SpoolShares } from '../../src/spool/spool-shares.js'

const limitBytes = 640_000

function fixture(shares: UserShares = { isOpen: false, usual: 0.1, own: new Map([['large', 1]]) }) {
  const spool = { bytes: 0 }
  const counted = new SpoolShares({ limitBytes, spool, sharing: { shares } })
  const publish = (user: string): PendingPublish => ({
    topic: 't'.repeat(40),
    payload: Buffer.alloc(900),
    qos: 1,
    retain: false,
    clientId: 'c',
    user,
    packetId: 0,
    settle: () => {},
  })
  /** So many kilobytes. */
  const send = (user: string, count: number) => {
    let refused = 0
    for (let n = 0; n < count; n++) {
      if (counted.fault(publish(user))) refused++
      else {
        counted.took(publish(user))
        spool.bytes += 1_000
      }
    }
    return refused
  }
  return { spool, counted, send }
}

t.test('half of the spool is for anybody; beyond it a user has its share and no more', async t => {
  const { send, counted, spool } = fixture()
  t.equal(send('mallory', 500), 179, 'up to the first one beyond half')
  t.equal(send('bob', 70), 6, 'bob has a tenth')
  t.equal(counted.used('bob'), 64_000)
  t.equal(send('large', 100), 0, 'who has all for a share is not limited by it')
  t.equal(send('', 10), 0, 'nor is the hub itself')
  spool.bytes = 200_000
  t.equal(send('mallory', 50), 0, 'less than half is left')
  t.ok(counted.used('mallory') < 100_000, 'and what went is not counted any more')
  spool.bytes = 0
  t.equal(counted.used('bob'), 0)
})

t.test('where nobody is asked, everybody has all', async t => {
  const { send } = fixture({ isOpen: true, usual: 0.1, own: new Map() })
  t.equal(send('anyone', 630), 0)
})
