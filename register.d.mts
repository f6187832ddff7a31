/** Starts the agent of this thread when a target library loads; for `node --import @z4j/bare/register`. */
export {};
