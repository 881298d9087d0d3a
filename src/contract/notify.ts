import { array, closed, integer, number, object, optional, string, words } from './schema.js'

/* Notifications: the targets, the browsers that have subscribed, and the button of a notification. */

const subscription = object({
  id: string(),
  created: number(),
  agent: string('User-Agent of the browser'),
})

export const notifyRoutes = {
  'GET /api/notify': {
    summary: 'The targets of notifications (notify.file), how they do, and the routes to them',
    allow: 'change',
    answer: object({
      targets: array(
        object({
          target: string(),
          type: string('web-push, email, webhook or mqtt; removed: no longer in notify.file'),
          waiting: integer('Messages that wait, and groups of alerts that will become one'),
          sent: integer('Messages that the target has taken since the processor started'),
          failed: integer('Attempts that failed'),
          givenUp: integer('Messages that the target refuses for good, or that have failed for three days'),
          trouble: optional(string('Why messages do not arrive')),
          since: optional(number('Since when')),
        }),
      ),
      routes: array(
        object({
          severity: array(words(['info', 'warning', 'critical'])),
          states: array(words(['pending', 'firing', 'acknowledged', 'cleared'])),
          when: array(
            object({
              days: array(integer(), 'From 0 (Monday) to 6'),
              from: integer('Minutes since midnight'),
              to: integer('Not included; before `from`: on the next day'),
            }),
            'Empty: always',
          ),
          targets: array(string()),
          group: integer('Milliseconds within which alerts become one message'),
          escalate: array(object({ after: integer('Milliseconds'), to: array(string()) })),
        }),
        'Which alerts go to which targets; all that match apply',
      ),
    }),
  },
  'POST /api/notify/test': {
    summary: 'Sends a test to a target, once and at once; answers when the target has taken it',
    allow: 'change',
    problems: { 404: 'There is no such target' },
    body: closed({ target: string('Name in notify.file', { maxLength: 64 }) }),
    answer: object({ sent: integer('Receivers: browsers, or 1') }),
  },
  'GET /api/notify/push': {
    summary: 'The key for which browsers subscribe (VAPID), and the subscriptions of the user who asks',
    answer: object({ publicKey: string('Point on P-256 in base64url'), subscriptions: array(subscription) }),
  },
  'POST /api/notify/push': {
    summary: 'Notifies the user who asks on a browser: takes what PushManager.subscribe has returned',
    description:
      'The user receives only alerts whose series the user may read. A user has at most 20 subscriptions. The push ' +
      'service must be on the public internet, unless notify.file allows others.',
    body: closed({
      endpoint: string(undefined, { maxLength: 2_000 }),
      expirationTime: optional({ type: ['number', 'null'], description: 'Not used' }),
      keys: closed({ p256dh: string(undefined, { maxLength: 200 }), auth: string(undefined, { maxLength: 100 }) }),
    }),
    answer: object({ id: string() }),
  },
  'DELETE /api/notify/push': {
    summary: 'Ends a subscription of the user who asks',
    problems: { 404: 'The user has no such subscription' },
    query: closed({ id: string(undefined, { maxLength: 64 }) }),
  },
  'POST /api/notify/acknowledge': {
    summary: 'Acknowledges the alerts of a notification, by the token in it: the button of the notification',
    description:
      'A token is good for a day, for the alerts of one notification, while its receiver exists; alerts that no longer ' +
      'fire are not counted.',
    allow: 'anyone',
    isForOwnPages: true,
    problems: { 403: 'The token is wrong or too old, or its receiver is no more' },
    body: closed({
      token: string(undefined, { maxLength: 4_096 }),
      note: optional(string(undefined, { maxLength: 500 })),
    }),
    answer: object({ acknowledged: integer('Alerts that are acknowledged now') }),
  },
} as const
