// The last preload of a cell: tells at the end what was found, by whom, and whether anything is left open.
process.on('exit', () => {
  const targets = globalThis[Symbol.for('z4j.bare')]?.targets ?? [];
  const found = targets.map(({ package: name, version, eye, outcome, error }) => ({
    package: name,
    version,
    eye,
    outcome,
    ...(error && { error: String(error) }),
  }));
  console.log(`targets ${JSON.stringify(found)}`);
});
