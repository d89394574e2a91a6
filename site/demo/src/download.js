// Downloads that show their progress, are checked, and say in a sentence why they failed.

/** Something that the reader is told; the message is a sentence and a way on. */
export class Failure extends Error {}

export async function fetchJson(url) {
  const response = await get(url);
  try {
    return await response.json();
  } catch {
    throw new Failure(`The file ${url} arrived damaged. Reload the page to fetch it again.`);
  }
}

async function get(url, name = `The file ${url}`) {
  let response;
  try {
    response = await fetch(new URL(url, import.meta.url));
  } catch {
    throw new Failure(`${name} could not be loaded: the connection failed, or something blocked it.`);
  }
  if (!response.ok) {
    throw new Failure(`${name} could not be loaded: the server answered ${response.status}.`);
  }
  return response;
}

/**
 * Downloads a file and checks it against its description in manifest.json.
 * @param {{file: string, bytes: number, sha256: string}} description
 * @param {string} name what the reader calls it
 * @param {(bytes: number) => void} onBytes called with the number of bytes of each piece
 * @returns {Promise<Uint8Array>}
 */
export async function download({ file, bytes, sha256 }, name, onBytes) {
  // The hash in the address: a model from the cache never meets a manifest of another.
  const response = await get(`${file}?${sha256.slice(0, 12)}`, name);
  const content = new Uint8Array(bytes);
  let received = 0;
  const incomplete = () =>
    new Failure(`${name} arrived incomplete: ${count(received)} of ${count(bytes)} bytes.`);
  const reader = response.body.getReader();
  for (;;) {
    const { done, value } = await reader.read().catch(() => {
      throw incomplete();
    });
    if (done) break;
    if (received + value.length > bytes) {
      throw new Failure(`${name} is larger than expected: the server sent another file.`);
    }
    content.set(value, received);
    received += value.length;
    onBytes(value.length);
  }
  if (received < bytes) throw incomplete();
  // Browsers offer the digest on https and localhost only; elsewhere the size must do.
  if (crypto.subtle) {
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
    const hex = [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    if (hex !== sha256) throw new Failure(`${name} arrived damaged: its checksum is wrong.`);
  }
  return content;
}

const count = (number) => number.toLocaleString("en");
