import t from 'tap'
import { clockDifference } from '../../src/doctor/date-header.js'
import { judgeFileSystem, judgeSync, mountOf } from '../../src/doctor/disk.js'
import { judgeClock, node, waitingConnections } from '../../src/doctor/machine.js'
import { judgePolicies, judgeQueue, strangers } from '../../src/doctor/rabbitmq.js'
import { topology } from '../../src/rabbitmq/connection.js'

/** What cannot be had on every machine: file systems, disks, clocks and policies, as they are seen. */

const mountinfo = `22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro
30 22 0:25 / /tmp rw - tmpfs tmpfs rw,size=1g
31 22 8:17 / /srv/with\\040space rw,noatime shared:5 - xfs /dev/sdb1 rw,nobarrier
32 22 0:40 / /srv/nfs rw - nfs4 server:/x rw,vers=4.2
`

t.test('the mount of a path is the longest one that it is in', async t => {
  t.match(mountOf('/var/lib/telehub', mountinfo), { type: 'ext4' })
  t.match(mountOf('/tmp/data', mountinfo), { type: 'tmpfs' })
  t.match(mountOf('/tmpdata', mountinfo), { type: 'ext4' })
  t.match(mountOf('/srv/with space/data', mountinfo), { type: 'xfs', options: 'rw,noatime,rw,nobarrier' })
  t.match(mountOf('/srv/nfs', mountinfo), { type: 'nfs4' })
})

t.test('a file system that loses what it is given is named', async t => {
  t.match(judgeFileSystem('tmpfs', 'rw'), { level: 'problem', seen: 'in memory (tmpfs)' })
  t.match(judgeFileSystem('overlay', 'rw'), { level: 'problem', advice: 'Mount a volume' })
  t.match(judgeFileSystem('xfs', 'rw,nobarrier'), { level: 'problem', seen: 'mounted with nobarrier' })
  t.match(judgeFileSystem('nfs4', 'rw'), { level: 'warning' })
  t.match(judgeFileSystem('fuse.sshfs', 'rw'), { level: 'warning' })
  for (const type of ['ext4', 'xfs', 'btrfs', 'zfs', 'f2fs'])
    t.equal(judgeFileSystem(type, 'rw,relatime'), undefined, type)
})

t.test('a sync that takes no time, or too much, is named', async t => {
  t.match(judgeSync(0.004), { level: 'warning', seen: 'takes 4 µs', advice: 'survives a loss of power' })
  t.match(judgeSync(0.8), { level: 'fine', seen: 'takes 800 µs' })
  t.match(judgeSync(4), { level: 'fine', seen: 'takes 4.0 ms' })
  t.match(judgeSync(120), { level: 'warning', seen: 'takes 120.0 ms' })
})

t.test('a clock before this version was made, or before a file that is there, is wrong', async t => {
  const now = Date.UTC(2027, 5, 1)
  t.match(judgeClock(0, undefined), { level: 'problem', seen: '1970-01-01' })
  t.match(judgeClock(now, undefined), { level: 'fine' })
  t.match(judgeClock(now, now - 1_000), { level: 'fine' })
  t.match(judgeClock(now, now + 3_600_000), { level: 'problem', seen: 'wrong now, or was wrong then' })
  t.match(judgeClock(now + 6 * 365 * 864e5, now), { level: 'warning', seen: 'five years' })
})

t.test('the clocks of other servers are compared by their Date header', async t => {
  const now = Date.UTC(2027, 5, 1)
  const at = (ms: number) => clockDifference('clock', new Date(now + ms).toUTCString(), now)[0]
  t.match(at(-900), { level: 'fine' })
  t.match(at(-60_000), { level: 'warning', seen: '60 s ahead of it' })
  t.match(at(60_000), { level: 'warning', seen: '60 s behind it' })
  t.same(clockDifference('clock', null, now), [])
  t.same(clockDifference('clock', 'noon', now), [])
})

t.test('a Node without fixes is named', async t => {
  t.match(node('20.19.0'), { level: 'warning', seen: 'no more security fixes' })
  t.match(node('22.20.0'), { level: 'fine' })
  t.match(node('24.1.0'), { level: 'fine' })
  t.match(node('26.1.0'), { level: 'warning', seen: 'not tested' })
})

t.test('policies for queues that are not there yet', async t => {
  const policy = { 'apply-to': 'queues', priority: 0 }
  const all = [
    { ...policy, name: 'short', pattern: '^telehub', definition: { 'message-ttl': 60_000 } },
    { ...policy, name: 'better', pattern: '^telehub', priority: 5, definition: { 'ha-mode': 'all' } },
    { ...policy, name: 'other', pattern: '^shop', definition: { 'max-length': 1 } },
    { ...policy, name: 'not ours', pattern: '(?<broken', definition: { expires: 1 } },
  ]
  t.same(judgePolicies(all, ['telehub.record']), [], 'the one with the highest priority counts')
  t.match(judgePolicies(all.slice(0, 1), ['telehub.record']), [
    { level: 'problem', seen: 'policy short gives telehub.record message-ttl 60000' },
  ])
  t.same(judgePolicies([{ ...all[0], 'apply-to': 'exchanges' } as (typeof all)[number]], ['telehub.record']), [])
})

t.test('a queue without a majority, or of a kind that loses messages', async t => {
  t.match(judgeQueue({ name: 'telehub.record', type: 'classic' }), [{ level: 'problem', seen: 'is a classic queue' }])
  const members = ['a', 'b', 'c']
  t.same(judgeQueue({ name: 'telehub.record', type: 'quorum', members, online: ['a', 'b'] }), [])
  t.match(judgeQueue({ name: 'telehub.record', type: 'quorum', members, online: ['a'] }), [
    { level: 'problem', seen: '1 of 3 members online' },
  ])
})

t.test('receipts that no hub takes are named', async t => {
  const queue = (name: string, messages: number, consumers: number) => ({ name, messages, consumers })
  const found = strangers(
    [
      queue('telehub.receipts.own', 5, 0),
      queue('telehub.receipts.gone', 5, 0),
      queue('telehub.receipts.busy', 5, 1),
      queue('telehub.receipts.empty', 0, 0),
      queue('shop.orders', 5, 0),
    ],
    topology('own', true),
  )
  t.match(found, [{ level: 'warning', seen: 'telehub.receipts.gone holds 5 receipts' }])
  t.equal(found.length, 1)
})

t.test('connections that wait to be accepted: fewer than may be open is a warning', async t => {
  t.match(waitingConnections(10_000, 4_096), [{ level: 'warning', advice: /net\.core\.somaxconn=10000/ }])
  t.match(waitingConnections(1_000, 4_096), [{ level: 'fine' }])
  t.same(waitingConnections(1_000, undefined), [])
})
