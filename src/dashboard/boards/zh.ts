import type { BoardTexts } from './en.js'

/** The texts of boards in Chinese. */
export const zh: BoardTexts = {
  title: '更改此面板',
  name: '名称',
  close: '关闭',
  density: '密度',
  'density.own': '按此浏览器设置',
  'density.cards': '卡片',
  'density.list': '列表',
  'density.heat': '热力图',
  areas: '区域',
  'areas-hint': '包含其中全部设备，包括今后新增的。',
  devices: '设备',
  find: '查找设备',
  more: '还有 {count} 台：请搜索',
  charts: '图表',
  'add-chart': '添加图表…',
  remove: '移除{name}',
  delete: '删除此面板',
  'delete-sure': '确定删除？设备不受影响。',
  deleted: '面板已删除。',
  empty: '此面板尚无内容。',
  'empty-hint': '请用“编辑面板”选择区域、设备或图表。',
  'last-day': '最近 24 小时',
  'no-data': '最近 24 小时没有存储数据',
  'chart-text': '{name}，最近 24 小时：{low} 至 {high}，当前 {now}',
}
