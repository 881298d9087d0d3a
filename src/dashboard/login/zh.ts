import type { Texts } from './en.js'

export const zh: Texts = {
  title: '登录',
  host: '到集线器 {host}',
  user: '用户名',
  password: '密码',
  show: '显示密码',
  hide: '隐藏密码',
  busy: '正在登录',
  'no-user': '请输入用户名。',
  'no-password': '请输入密码。',
  silent: '集线器没有响应。它在运行吗？此计算机能连接到它吗？',
  offline: '您处于离线状态。',
  wrong: '用户名或密码错误。',
  crowded: '集线器正忙于其他登录。请稍后再试。',
  failed: '登录失败：{why}',
  status: '集线器返回状态 {status}',
  wait: '尝试次数过多。请在 {time} 再试。',
  caps: '大写锁定已开启。',
  plain: '此连接未加密：网络上的任何人都能读取您的密码。',
  help: '没有账户或忘记密码？在集线器的机器上运行：',
  or: '或',
}
