import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { Networks, plainAddress } from '../../src/runtime/addresses.js'
import { clientAddress, parseProxyHeader, readProxyHeader } from '../../src/transport/proxy-protocol.js'

const v2 = (command: number, family: number, addresses: Buffer, more = Buffer.alloc(0)) => {
  const size = Buffer.alloc(2)
  size.writeUInt16BE(addresses.length + more.length)
  return Buffer.concat([Buffer.from('\r\n\r\n\0\r\nQUIT\n'), Buffer.from([command, family]), size, addresses, more])
}
const inet = Buffer.from([192, 0, 2, 7, 198, 51, 100, 1, 0xdc, 4, 7, 0x5b])
const inet6 = Buffer.from('20010db80000000000000000000000070000000000000000000000000000000111111883', 'hex')
const mapped = Buffer.from('00000000000000000000ffffc00002070000000000000000000000000000000111111883', 'hex')

const good: [string, Buffer, string | undefined][] = [
  ['TCP4', Buffer.from('PROXY TCP4 192.0.2.7 198.51.100.1 56324 1883\r\n'), '192.0.2.7'],
  ['TCP6', Buffer.from('PROXY TCP6 2001:db8::7 ::1 0 65535\r\n'), '2001:db8::7'],
  ['TCP6, spelled otherwise', Buffer.from('PROXY TCP6 2001:DB8:0:0::7 ::1 1 2\r\n'), '2001:db8::7'],
  ['TCP6, mapped', Buffer.from('PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n'), '192.0.2.7'],
  ['UNKNOWN', Buffer.from('PROXY UNKNOWN\r\n'), undefined],
  ['UNKNOWN with what may follow', Buffer.from('PROXY UNKNOWN ffff:f...f:ffff whatever 1 2\r\n'), undefined],
  ['UNKNOWN, longest', Buffer.from(`PROXY UNKNOWN ${'x'.repeat(91)}\r\n`), undefined],
  ['v2 TCP over IPv4', v2(0x21, 0x11, inet), '192.0.2.7'],
  ['v2 TCP over IPv6', v2(0x21, 0x21, inet6), '2001:db8::7'],
  ['v2 TCP over IPv6, mapped', v2(0x21, 0x21, mapped), '192.0.2.7'],
  ['v2 with extensions', v2(0x21, 0x11, inet, Buffer.from('\x02\x00\x04host\x04\x00\x00', 'latin1')), '192.0.2.7'],
  ['v2 UNIX', v2(0x21, 0x31, Buffer.alloc(216)), undefined],
  ['v2 UNSPEC', v2(0x21, 0x00, Buffer.alloc(0)), undefined],
  ['v2 LOCAL', v2(0x20, 0x00, Buffer.alloc(0)), undefined],
  ['v2 LOCAL, its addresses are not looked at', v2(0x20, 0xff, inet), undefined],
  ['v2, longest', v2(0x21, 0x11, inet, Buffer.alloc(2_048 - 16 - 12)), '192.0.2.7'],
]

const bad: [string, Buffer | string, RegExp][] = [
  ['MQTT', Buffer.from([0x10, 12, 0, 4]), /does not begin/],
  ['TLS', Buffer.from([0x16, 3, 1]), /does not begin/],
  ['nearly', 'PROXI', /does not begin/],
  ['nearly v2', '\r\n\r\n\0\r\nQUIX', /does not begin/],
  ['a line without end', `PROXY TCP4 ${'1'.repeat(96)}`, /longer than 107/],
  ['one byte too long', `PROXY UNKNOWN ${'x'.repeat(92)}\r\n`, /longer than 107/],
  ['no family', 'PROXY \r\n', /its line/],
  ['no such family', 'PROXY TCP5 192.0.2.7 198.51.100.1 1 2\r\n', /its line/],
  ['family of the other kind', 'PROXY TCP6 192.0.2.7 198.51.100.1 1 2\r\n', /its line/],
  ['no address', 'PROXY TCP4 192.0.2.777 198.51.100.1 1 2\r\n', /its line/],
  ['no destination', 'PROXY TCP4 192.0.2.7\r\n', /its line/],
  ['no ports', 'PROXY TCP4 192.0.2.7 198.51.100.1\r\n', /its line/],
  ['a port too many', 'PROXY TCP4 192.0.2.7 198.51.100.1 1 2 3\r\n', /its line/],
  ['no such port', 'PROXY TCP4 192.0.2.7 198.51.100.1 1 65536\r\n', /its line/],
  ['an odd port', 'PROXY TCP4 192.0.2.7 198.51.100.1 01 2\r\n', /its line/],
  ['two spaces', 'PROXY TCP4  192.0.2.7 198.51.100.1 1 2\r\n', /its line/],
  ['v2 of version 1', v2(0x11, 0x11, inet), /command/],
  ['v2 with no such command', v2(0x22, 0x11, inet), /command/],
  ['v2 of no known family', v2(0x21, 0x41, inet6), /family/],
  ['v2 of no known transport', v2(0x21, 0x13, inet), /family/],
  ['v2 too short for IPv4', v2(0x21, 0x11, inet.subarray(1)), /too short/],
  ['v2 too short for IPv6', v2(0x21, 0x21, inet), /too short/],
  ['v2 too long', v2(0x21, 0x11, inet, Buffer.alloc(2_048)), /longer than 2048/],
  ['v2 too long, seen at once', v2(0x21, 0x11, inet, Buffer.alloc(60_000)).subarray(0, 16), /longer than 2048/],
]

t.test('PROXY headers', async t => {
  for (const [name, header, address] of good) {
    t.same(parseProxyHeader(header), { length: header.length, address }, name)
    const more = Buffer.concat([header, Buffer.from('PROXY \r\n')])
    t.equal(parseProxyHeader(more)?.length, header.length, `${name}, and more behind it`)
    for (let cut = 0; cut < header.length; cut++) {
      if (parseProxyHeader(header.subarray(0, cut)) !== undefined) t.fail(`${name}, cut at ${cut}`)
    }
  }
  for (const [name, header, why] of bad) t.throws(() => parseProxyHeader(Buffer.from(header)), why, name)
})

/** A server that reads a PROXY header from each connection, then says who it was and echoes what follows. */
async function proxied(t: Test): Promise<() => Promise<Socket>> {
  const server = createServer(socket => {
    readProxyHeader(
      socket,
      address => {
        socket.write(`${address}:`)
        socket.pipe(socket)
      },
      why => socket.end(why),
    )
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  return async () => {
    const socket = connect({ port: (server.address() as { port: number }).port, host: '127.0.0.1', noDelay: true })
    t.teardown(() => socket.destroy())
    await once(socket, 'connect')
    return socket.setEncoding('latin1')
  }
}

async function received(socket: Socket, length: number): Promise<string> {
  let all = ''
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) {
    all += chunk
    if (all.length >= length) break
  }
  return all
}

t.test('read from a socket: what follows stays there, however the segments fall', async t => {
  const dial = await proxied(t)
  for (const [name, header, address] of good) {
    const together = await dial()
    together.write(Buffer.concat([header, Buffer.from('MQTT')]))
    t.equal(await received(together, `${address}:MQTT`.length), `${address}:MQTT`, `${name}, in one segment`)
    together.write('more')
    t.equal(await received(together, 4), 'more')

    const apart = await dial()
    apart.write(header)
    t.equal(await received(apart, `${address}:`.length), `${address}:`, `${name}, alone`)
    apart.write('later')
    t.equal(await received(apart, 5), 'later')
  }
  const dripping = await dial()
  for (const byte of v2(0x21, 0x21, inet6, Buffer.alloc(20))) {
    dripping.write(Buffer.from([byte]))
    await sleep(1)
  }
  dripping.write('x')
  t.equal(await received(dripping, 13), '2001:db8::7:x', 'byte by byte')
  const wrong = await dial()
  wrong.write('GET / HTTP/1.1\r\n')
  t.match(await received(wrong, 10), /does not begin/)
})

t.test('one spelling for each address', async t => {
  for (const [given, plain] of [
    ['192.0.2.1', '192.0.2.1'],
    ['::ffff:192.0.2.1', '192.0.2.1'],
    ['::FFFF:c000:201', '192.0.2.1'],
    ['2001:DB8:0:0:0:0:0:1', '2001:db8::1'],
    ['::1', '::1'],
    ['192.0.2.01', undefined],
    ['192.0.2.1:80', undefined],
    ['unknown', undefined],
    ['', undefined],
    [undefined, undefined],
  ]) {
    t.equal(plainAddress(given), plain, String(given))
  }
})

t.test('networks', async t => {
  const networks = new Networks([
    '10.0.0.0/8',
    '192.0.2.7',
    '198.51.100.0/31',
    'fd00::/8',
    '::1',
    '::ffff:172.16.0.0/108',
  ])
  const inside = ['10.0.0.1', '10.255.255.255', '192.0.2.7', '198.51.100.1', 'fd12::1', '::1', '172.31.0.1']
  const outside = ['11.0.0.1', '192.0.2.6', '198.51.100.2', 'fe80::1', '::2', '172.32.0.1', '::', '0.0.0.0', '::a00:1']
  for (const address of inside) t.ok(networks.has(address), address)
  for (const address of outside) t.notOk(networks.has(address), address)
  t.notOk(new Networks([]).has('127.0.0.1'))
  const all = new Networks(['0.0.0.0/0', '::/0'])
  t.ok(all.has('8.8.8.8') && all.has('2001:db8::1'))
})

t.test('X-Forwarded-For', async t => {
  const trusted = new Networks(['10.0.0.0/8', '127.0.0.1', 'fd00::/8'])
  for (const [remote, header, client, why] of [
    ['192.0.2.1', undefined, '192.0.2.1', 'no header'],
    ['192.0.2.1', '198.51.100.1', '192.0.2.1', 'from a stranger'],
    ['10.0.0.1', undefined, '10.0.0.1', 'a proxy that says nothing'],
    ['10.0.0.1', '198.51.100.1', '198.51.100.1', 'from a proxy'],
    ['10.0.0.1', '203.0.113.9, 198.51.100.1', '198.51.100.1', 'what the client itself claims does not count'],
    ['10.0.0.1', '10.0.0.9, 198.51.100.1', '198.51.100.1', 'nor if it claims to be a proxy'],
    ['10.0.0.1', '203.0.113.9,198.51.100.1 , fd00::2, 10.0.0.2', '198.51.100.1', 'a chain of proxies'],
    ['10.0.0.1', '10.0.0.3, 10.0.0.2', '10.0.0.3', 'proxies only: the first'],
    ['127.0.0.1', '::ffff:198.51.100.1', '198.51.100.1', 'mapped'],
    ['127.0.0.1', '::ffff:10.0.0.2', '10.0.0.2', 'mapped, a proxy'],
    ['127.0.0.1', '198.51.100.1:50123', '198.51.100.1', 'with port'],
    ['127.0.0.1', '[2001:db8::1]:50123', '2001:db8::1', 'with brackets and port'],
    ['127.0.0.1', '[2001:db8::1]', '2001:db8::1', 'with brackets'],
    ['127.0.0.1', '2001:DB8::1', '2001:db8::1', 'bare'],
    ['127.0.0.1', '198.51.100.1, [fd00::1]:1', '198.51.100.1', 'a proxy with brackets and port'],
    ['127.0.0.1', 'unknown', '127.0.0.1', 'no address'],
    ['127.0.0.1', '198.51.100.1, unknown', '127.0.0.1', 'no address at the end'],
    ['127.0.0.1', '198.51.100.1, <script>, 10.0.0.2', '10.0.0.2', 'no address before the last proxy'],
    ['127.0.0.1', '198.51.100.1,', '127.0.0.1', 'an empty end'],
    ['127.0.0.1', '', '127.0.0.1', 'empty'],
    ['127.0.0.1', '[]', '127.0.0.1', 'empty brackets'],
    ['127.0.0.1', ','.repeat(10_000), '127.0.0.1', 'commas'],
  ] as const) {
    t.equal(clientAddress({ 'x-forwarded-for': header }, remote, trusted), client, why)
  }
})
