import type { WallKey } from './en.js'

export const zh: Readonly<Record<WallKey, string>> = {
  'wall.other': '其他',
  'wall.none': '没有匹配的读数',
  'wall.shown': '{all} 个读数中的 {shown} 个',
  'mark.unstored': '未存储',
  'mark.late': '延迟',
  'mark.clock': '时钟',
  'mark.absent': '无数值',
  'why.unstored': '未存储（{reason}）：{detail}',
  'why.late': '设备的时间戳已超过一分钟：读数延迟到达。',
  'why.clock': '设备的时间戳不可能正确，因此使用接收时间。',
  'why.absent': '设备表示目前没有数值；这是它的最后一个数值。',
  'empty.title': '等待第一个读数',
  'empty.text': '中心正在运行。向任意主题发布 JSON：其中的每个数字、状态和文本都会在此成为一个磁贴。',
  'empty.hint': '还没有设备？请在终端中运行此命令。',
  'devices.title': '设备',
  'wall.title': '所有数值',
}
