/** Version of this package; a test holds it equal to package.json. */
export const VERSION = '0.1.0';

/** The z4j release whose agents this one is compatible with: the brain compares it with its own. */
export const BASELINE = '1.13.0';

/** What hello announces, at most 40 characters: own version as build metadata, which the comparison ignores. */
export const AGENT_VERSION = `${BASELINE}+node.${VERSION}`;
