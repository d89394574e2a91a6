// The model in the browser: loading it, and asking it for ten films.

import { download, Failure, gunzip } from "./download.js";

const ELSEWHERE = "Open the page in a current Firefox, Chrome, Edge or Safari; " +
  "notebook 07 shows recommendations without any of this.";

// The smallest program with a SIMD instruction: the runtime needs them (all browsers since 2023).
const SIMD = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15,
  253, 98, 11,
]);

let attempts = 0;

/**
 * Downloads runtime and model and makes them ready.
 * @param manifest what manifest.json holds
 * @param {(share: number) => void} onProgress 0 to 1
 */
export async function loadModel(manifest, onProgress) {
  const { model, runtime } = manifest;
  if (!runtime) {
    throw new Failure("This copy of the page was built without its runtime, because npm was not " +
      "there. Whoever built it can install Node.js and run “make demo” again.");
  }
  if (typeof WebAssembly !== "object" || !WebAssembly.validate(SIMD)) {
    throw new Failure(`This browser does not run WebAssembly, which the model needs. ${ELSEWHERE}`);
  }
  if (typeof DecompressionStream !== "function") {
    throw new Failure(`This browser is too old for the packed runtime. ${ELSEWHERE}`);
  }
  let received = 0;
  const onBytes = (bytes) => onProgress((received += bytes) / downloadSize(manifest));
  const [weights, packed] = await Promise.all([
    download(model, "The model", onBytes),
    download(runtime.wasm, "The runtime", onBytes),
  ]);
  // A browser remembers a script that failed to load, so another attempt needs another address.
  const address = new URL(runtime.script, document.baseURI);
  address.search = attempts++ ? `again=${attempts}` : "";
  const ort = await import(address).catch(() => {
    throw new Failure("The runtime's script could not be loaded: something blocked it.");
  });
  try {
    ort.env.wasm.numThreads = 1; // more threads need headers that simple servers do not send
    ort.env.wasm.wasmBinary = await gunzip(packed);
    const session = await ort.InferenceSession.create(weights, { executionProviders: ["wasm"] });
    return new Model(ort, session, model);
  } catch (error) {
    throw new Failure(`The model could not be started (${firstLine(error)}). ${ELSEWHERE}`);
  }
}

/** What starting the recommender downloads, in bytes. */
export const downloadSize = ({ model, runtime }) => model.bytes + (runtime?.wasm.bytes ?? 0);

const firstLine = (error) => String(error?.message ?? error).split("\n")[0].slice(0, 160);

class Model {
  constructor(ort, session, description) {
    Object.assign(this, { ort, session, description });
    this.turn = Promise.resolve(); // a session does one run at a time
  }

  /**
   * The n most probable next films that are not in the history.
   * @param {number[]} history movie tokens, from one to as many as the model reads
   * @returns {Promise<{token: number, probability: number}[]>} most probable first
   */
  async recommend(history, n = 10) {
    const input = new this.ort.Tensor("int32", Int32Array.from(history), [1, history.length]);
    const run = () => this.session.run({ movie_tokens: input });
    const { logits } = await (this.turn = this.turn.then(run, run));
    const probabilities = softmax(logits.data);
    const seen = new Set(history);
    return Array.from(probabilities.subarray(0, this.description.num_movies), (probability, token) => ({
      token,
      probability,
    }))
      .filter(({ token }) => !seen.has(token))
      .sort((a, b) => b.probability - a.probability)
      .slice(0, n);
  }
}

/** Over the whole vocabulary, before anything is left out, as the notebooks do. */
function softmax(logits) {
  const largest = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  const powers = Float64Array.from(logits, (logit) => Math.exp(logit - largest));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / sum);
}
