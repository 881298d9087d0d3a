import type { Texts } from './en.js'

/** Chinese texts of the pairing page. */
export const zh: Texts = {
  title: '配对设备',
  text: '凭此代码，中心会为设备生成用户名和密码，仅一次。请只在要输入它们的地方显示。',
  code: '代码',
  go: '获取用户名和密码',
  busy: '正在询问中心…',
  'no-code': '请输入中心在“设置”的“配对设备”中显示的代码。',
  silent: '中心没有响应。它在运行吗？此设备能访问它吗？',
  failed: '操作未成功：{why}',
  done: '请在设备中输入这些内容。仅此时显示。',
  host: '地址',
  port: '端口',
  tls: 'TLS',
  yes: '是',
  no: '否',
  user: '用户',
  password: '密码',
  clients: '客户端 ID',
  publish: '可以发布到',
  read: '可以接收',
  copy: '复制',
  copied: '已复制',
  'copy-label': '复制：{what}',
  all: '全部复制为 JSON',
  plain: '此连接未加密：网络上的任何人都能读到密码。',
}
