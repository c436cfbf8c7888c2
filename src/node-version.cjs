const OLDEST_SUPPORTED = 24

if (Number.parseInt(process.versions.node, 10) < OLDEST_SUPPORTED) {
  console.error(
    `Node ${process.versions.node} is too old; use Node ${OLDEST_SUPPORTED} or newer. On Linux x64, npm scripts such as \`npm start\` use the Node in node_modules; elsewhere, install Node from https://nodejs.org.`,
  )
  process.exit(1)
}
