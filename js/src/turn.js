/** Long work in turns: others have theirs, and a caller may stop it. */

const TURN = 50; // milliseconds between two chances of others

let paused = 0; // when others had their turn

/** Let others have their turn now and then; stop where the caller has asked to. */
export async function proceed({ signal, onProgress }, of) {
  if (performance.now() - paused > TURN) {
    onProgress?.(of);
    await new Promise((resolve) => setTimeout(resolve));
    paused = performance.now();
  }
  signal?.throwIfAborted();
}
