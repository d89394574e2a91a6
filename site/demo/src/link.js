// The selection in the address bar, as #sample=8,17,35: the data set's name and the movie ids in
// order. What stands behind # is never sent to a server.

/** What the address says: null without a selection. */
export function readLink() {
  // Mail programs write the two signs as codes. (Decoding all of it would fail on a cut-off code.)
  const hash = location.hash.replace(/%2C/gi, ",").replace(/%3D/gi, "=");
  const match = /^#([\w.-]+)=(\d+(?:,\d+)*)$/.exec(hash);
  return match && { dataSet: match[1], ids: [...new Set(match[2].split(",").map(Number))] };
}

/** Puts the selection into the address, without a new entry in the browser's history. */
export function writeLink(dataSet, ids) {
  const hash = ids.length ? `#${dataSet}=${ids.join(",")}` : "";
  history.replaceState(null, "", location.pathname + location.search + hash);
}
