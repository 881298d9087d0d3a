import t from 'tap'
import {
  Access,
  type AccessRule,
  covers,
  mayRead,
  overlap,
  parseRule,
  quote,
  readsAll,
  ruleText,
} from '../../src/access/rules.js'
import { isTopicFilter, matches } from '../../src/topics.js'

const rule = (text: string, place = ''): AccessRule => {
  const parsed = parseRule(text, place)
  if (typeof parsed === 'string') throw new Error(parsed)
  return parsed
}
const access = (user: string, client: string, ...rules: string[]) =>
  new Access(
    user,
    client,
    rules.map(text => rule(text)),
  )

/** Every text of at most `depth` levels of these. */
function texts(levels: readonly string[], depth: number): string[] {
  const shorter = depth > 1 ? texts(levels, depth - 1) : []
  const longest = depth > 1 ? shorter.filter(text => text.split('/').length === depth - 1) : ['']
  const join = (head: string, level: string) => (depth > 1 ? `${head}/${level}` : level)
  return [...shorter, ...longest.flatMap(head => levels.map(level => join(head, level)))]
}

t.test('covers and overlap are what trying every topic says', async t => {
  // One level more than the filters have, and a name no filter knows: enough to tell any two of them apart.
  const topics = texts(['a', 'b', '$x', ''], 4)
  const filters = texts(['a', '+', '#', '$x', ''], 3).filter(isTopicFilter)
  const matched = new Map(filters.map(filter => [filter, topics.map(topic => matches(filter, topic))]))
  const wrong: string[] = []
  for (const [one, ofOne] of matched) {
    for (const [other, ofOther] of matched) {
      const isCovered = ofOther.every((does, i) => !does || ofOne[i])
      const isShared = ofOther.some((does, i) => does && ofOne[i])
      if (covers(one, other) !== isCovered) wrong.push(`${one} covers ${other}: ${!isCovered}`)
      if (overlap(one, other) !== isShared) wrong.push(`${one} overlaps ${other}: ${!isShared}`)
    }
  }
  t.same(wrong, [])
  t.ok(filters.length > 70 && topics.length > 300)
})

t.test(
  'what readsAll lets through unasked, read would allow; subscribe allows nothing that no rule is about',
  async t => {
    const filters = ['#', 'a/#', '+/b', 'a/b', '$hub/#', '$hub/+/a/b', '$hub/last/#', '$hub/last/a/#', '$hub/last/$x/b']
    const topics = [
      'a',
      'a/b',
      'c/b',
      '$x/b',
      '$hub/last/a/b',
      '$hub/last/c/b',
      '$hub/last/$x/b',
      '$hub/why/z',
      '$hub/last',
    ]
    const asked = [...filters, '+', '$hub/+/#', '$hub/last/+', '$hub/last/+/b', '$hub/last/a/b', '$hub/+']
    const wrong: string[] = []
    for (const allowed of filters) {
      for (const denied of [undefined, ...filters]) {
        const one = access('u', 'c', `allow read ${allowed}`, ...(denied ? [`deny read ${denied}`] : []))
        for (const filter of asked.filter(filter => one.readsAll(filter))) {
          for (const topic of topics.filter(topic => matches(filter, topic))) {
            if (!one.read(topic).allowed) wrong.push(`allow ${allowed}, deny ${denied}: ${filter} brings ${topic}`)
          }
        }
        for (const filter of asked) {
          if (readsAll(one.readRules, filter) !== one.readsAll(filter)) wrong.push(`readsAll ${filter}`)
        }
        for (const topic of topics) {
          const { allowed } = one.read(topic)
          if (mayRead(one.readRules, topic) !== allowed || one.mayRead(topic) !== allowed)
            wrong.push(`mayRead ${topic}`)
        }
      }
    }
    t.same(wrong, [])
    t.ok(access('u', 'c', 'allow read #').readsAll('a/#'), 'and it is no use if it is never true')
    t.ok(access('u', 'c', 'allow read #', 'allow read $hub/#').readsAll('$hub/#'))
    t.ok(access('u', 'c', 'allow read a/#', 'deny read b/#').readsAll('$hub/last/a/#'))
    t.ok(readsAll({ allow: ['b', 'a/#'], deny: ['b/#'] }, 'a/+/c'))
    t.notOk(readsAll({ allow: ['a/#'], deny: ['a/b/#'] }, 'a/+/c'), 'a part of it is denied')
    t.notOk(readsAll({ allow: ['a/b', 'a/c'], deny: [] }, 'a/+'), 'no rule has all of it')
    t.notOk(readsAll({ allow: [], deny: [] }, 'a'))
  },
)

t.test('names from outside stay one level, and stay outside of $', async t => {
  for (const name of [
    '+',
    '#',
    'a/b',
    '$hub',
    '__proto__',
    'constructor',
    '%2B',
    '{client}',
    '{user}',
    '$&',
    '..',
    'ä',
  ]) {
    const one = access(name, 'c', 'allow all home/{user}/#', 'allow read {user}/#')
    t.notOk(one.publish('home/other/x').allowed, `${name}: another's topic`)
    t.notOk(one.publish('home').allowed, `${name}: above its own`)
    t.notOk(one.subscribe('home/+/x').allowed, `${name}: everybody's`)
    t.notOk(one.subscribe('home/#').allowed, name)
    t.notOk(one.subscribe('#').allowed, name)
    t.notOk(one.read('$hub/presence/x').allowed, `${name}: the hub's own`)
    t.notOk(one.subscribe('$hub/#').allowed, name)
    t.notOk(one.publish('home/a/b').allowed, name)
    const [own] = one.rules
    const level = own?.filter.split('/')[1] as string
    t.ok(one.publish(`home/${level}/x`).allowed, `${name}: its own, as ${level}`)
  }
  const client = access('u', '{user}', 'allow publish {client}/x')
  t.notOk(client.publish('u/x').allowed, 'a name in a name is no placeholder')
  t.equal(access('+', '#', 'allow all a/{user}-{client}').rules[0]?.filter, 'a/%2B-%23')
})

t.test('deny beats allow, in whatever order; without an allow nothing is allowed', async t => {
  const rules = ['allow all a/#', 'deny publish a/b', 'deny read a/c', 'deny subscribe a/d/#']
  for (const order of [rules, [...rules].reverse()]) {
    const one = access('u', 'c', ...order)
    t.match(one.publish('a/b'), { allowed: false, rule: { effect: 'deny', filter: 'a/b' } })
    t.ok(one.publish('a/c').allowed)
    t.notOk(one.read('a/c').allowed)
    t.ok(one.read('a/b').allowed)
    t.ok(one.read('a/d/e').allowed, 'asking is denied, not receiving')
    t.notOk(one.subscribe('a/d/e').allowed)
    t.ok(one.subscribe('a/#').allowed, 'a part of it is denied: the rest may be asked for')
    t.same(
      one.withheld('a/#').map(({ filter }) => filter),
      ['a/c'],
    )
    t.notOk(one.readsAll('a/#'))
    t.same(one.publish('b'), { allowed: false, rule: undefined })
  }
  const asking = access('u', 'c', 'allow subscribe a/#')
  t.ok(asking.subscribe('a/b').allowed)
  t.notOk(asking.read('a/b').allowed)
  t.notOk(asking.publish('a/b').allowed)
  t.notOk(access('u', 'c').subscribe('a').allowed)
})

t.test('topics that begin with $ are for rules that say so', async t => {
  const all = access('u', 'c', 'allow all #', 'allow all +/x')
  for (const topic of ['$SYS/x', '$hub/presence/d', '$hub/why/d']) {
    t.notOk(all.read(topic).allowed, topic)
    t.notOk(all.subscribe(topic).allowed, topic)
  }
  t.notOk(all.subscribe('$SYS/#').allowed)
  t.ok(access('u', 'c', 'allow read $SYS/#').subscribe('$SYS/broker/#').allowed)
})

t.test('what is under $hub/last/ is read as the topic it is about', async t => {
  const one = access('u', 'c', 'allow read home/#', 'allow read $hub/#', 'deny read home/secret/#')
  t.ok(one.read('$hub/last/home/x').allowed)
  t.notOk(one.read('$hub/last/home/secret/x').allowed, 'also where a rule for $hub/# would allow it')
  t.ok(one.subscribe('$hub/last/home/#').allowed)
  t.notOk(one.subscribe('$hub/last/home/secret/#').allowed)
  for (const filter of ['$hub/#', '$hub/+/home/#', '$hub/last/#', '$hub/last/+/secret/x', '$hub/last/home/#']) {
    t.notOk(one.readsAll(filter), filter)
  }
  const narrow = access('u', 'c', 'allow read home/#')
  t.ok(narrow.subscribe('$hub/last/home/a').allowed)
  t.ok(narrow.subscribe('$hub/last/#').allowed, 'asking for all of it is free')
  t.notOk(narrow.readsAll('$hub/last/#'), 'what is told of it is not')
  t.notOk(narrow.read('$hub/last/other').allowed)
  t.notOk(access('u', 'c', 'deny subscribe $hub/#').subscribe('$hub/last/#').allowed)
  t.notOk(narrow.publish('$hub/last/home/a').allowed)
})

t.test('everybody reads why it was refused, and nobody reads why another was', async t => {
  for (const client of ['c', 'a/b', '+', '#', '$x']) {
    const one = access('u', client)
    const [level] = access('u', client, 'allow read x{client}').rules.map(({ filter }) => filter.slice(1))
    if (!client.startsWith('$')) {
      t.ok(one.read(`$hub/why/${level}`).allowed, client)
      t.ok(one.subscribe(`$hub/presence/${level}`).allowed, client)
    }
    for (const filter of ['$hub/why/+', '$hub/why/#', '$hub/why/other', '$hub/#'])
      t.notOk(one.subscribe(filter).allowed)
  }
})

t.test('what is remembered stays right past what is remembered', async t => {
  const one = access('u', 'c', 'allow all a/+', 'deny publish a/7')
  for (let round = 0; round < 2; round++) {
    for (let i = 0; i < 3_000; i++) {
      if (one.mayPublish(`a/${i}`) !== (i !== 7) || one.mayRead(`b/${i}`)) t.fail(`a/${i}`)
    }
  }
  t.ok(one.mayRead('a/__proto__'))
})

t.test('a rule that cannot be read is a sentence', async t => {
  const cases: readonly [string, RegExp][] = [
    ['', /allowed is allow or deny/],
    ['allow read', /then a topic filter/],
    ['permit read a', /allowed is allow or deny/],
    ['allow write a', /given "write", allowed are publish, subscribe, read, all/],
    ['allow read a/#/b', /given "a\/#\/b", allowed is a topic filter/],
    ['allow read a{user}#', /topic filter/],
    ['allow read {user}+', /topic filter/],
    ['allow read home/{room}/x', /given "\{room\}".*allowed are \{user\} and \{client\}/],
    ['allow read {user', /given "\{user"/],
    ['allow read {__proto__}', /allowed are/],
    ['allow read a\0', /topic filter/],
    [`allow read ${'a/'.repeat(40)}b`, /more than 32 levels/],
    [`allow read ${'a'.repeat(5_000)}`, /more than 4096 bytes/],
    ['allow \x1b[31m\u202e\u009b a', /given "\\u001b\[31m\\u202e\\u009b"/],
  ]
  for (const [text, sentence] of cases) {
    const read = parseRule(text)
    t.type(read, 'string', JSON.stringify(text))
    t.match(read, sentence)
  }
  t.match(rule('  deny   read  a b/#  ', 'users.yaml:3'), { verb: 'read', filter: 'a b/#', place: 'users.yaml:3' })
  t.equal(ruleText(rule('allow  all   a')), 'allow all a')
  t.ok(quote('x'.repeat(1_000)).length < 120)
})
