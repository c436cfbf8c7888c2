export default {
  input: './generated/openapi.json',
  // Node runs the client without a build, so its imports have to name the files as they are.
  output: { path: 'generated/hey-api', module: { extension: '.ts' } },
  logs: { file: false },
}
