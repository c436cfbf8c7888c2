const NEEDED = 24

if (Number.parseInt(process.versions.node, 10) < NEEDED) {
  console.error(
    `Node ${process.versions.node} is too old: Node ${NEEDED} or newer is needed. On Linux x64, npm scripts such as \`npm start\` run the one in node_modules; elsewhere, install it from https://nodejs.org.`,
  )
  process.exit(1)
}
