import { accessCommands } from './access.js'
import { alertCommands } from './alerts.js'
import { auditCommands } from './audit.js'
import { backupCommands } from './backup.js'
import { certificateCommand } from './cert.js'
import { checkCommand } from './check.js'
import { clientCommands } from './clients.js'
import type { Command } from './command.js'
import { deadCommands } from './dead.js'
import { deviceCommands } from './device.js'
import { doctorCommand } from './doctor.js'
import { exportCommand } from './export.js'
import { findCommand } from './find.js'
import { healthcheckCommand } from './healthcheck.js'
import { hubsCommand } from './hubs.js'
import { importCommand } from './import.js'
import { inboxCommands } from './inbox.js'
import { mapCommands } from './map.js'
import { noiseCommands } from './noise.js'
import { notifyCommands } from './notify.js'
import { outletCommands } from './outlets.js'
import { deviceCommandCommands } from './send.js'
import { seriesCommands } from './series.js'
import { sessionCommands } from './session.js'
import { shareCommands } from './share.js'
import { spoolCommands } from './spool.js'
import { sqlCommand } from './sql.js'
import { storeCommands } from './store.js'
import { tailCommand } from './tail.js'
import { userCommands } from './user-admin.js'

/** All commands but those that run until they are stopped, in the order of the help. */
export const commands: readonly Command[] = [
  checkCommand,
  doctorCommand,
  healthcheckCommand,
  certificateCommand,
  ...mapCommands,
  ...inboxCommands,
  ...noiseCommands,
  tailCommand,
  ...alertCommands,
  ...backupCommands,
  ...spoolCommands,
  findCommand,
  ...deadCommands,
  ...storeCommands,
  ...seriesCommands,
  exportCommand,
  importCommand,
  sqlCommand,
  ...deviceCommands,
  ...deviceCommandCommands,
  ...notifyCommands,
  ...outletCommands,
  hubsCommand,
  ...clientCommands,
  ...sessionCommands,
  ...shareCommands,
  ...accessCommands,
  ...auditCommands,
  ...userCommands,
]
