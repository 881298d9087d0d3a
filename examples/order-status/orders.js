/** What follows the # of the address: hub=http://127.0.0.1:8080&key=thk_… stays in the browser. */
export const given = {
  hub: 'http://127.0.0.1:8080',
  ...Object.fromEntries(new URLSearchParams(location.hash.slice(1))),
}

const rows = new Map()

/** Shows the status of an order. Texts of others are texts here, never HTML. */
export function showOrder(order, status, since) {
  let row = rows.get(order)
  if (!row) {
    row = document.getElementById('orders').insertRow()
    for (let i = 0; i < 3; i++) row.insertCell()
    rows.set(order, row)
  }
  const texts = [order, status, new Date(since).toLocaleTimeString()]
  for (const [i, text] of texts.entries()) row.cells[i].textContent = text
}

export function showState(phase) {
  const state = document.getElementById('state')
  state.textContent = phase
  state.dataset.phase = phase
}
