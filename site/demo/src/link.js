// The selection in the address bar, as #sample=8,17,35: the data set's name and the movie ids in
// order. What stands behind # is never sent to a server.

/** What the address says: null without a selection. */
export function readLink() {
  // Mail programs write the two signs as codes. (Decoding all of it would fail on a cut-off code.)
  const hash = location.hash.replace(/%2C/gi, ",").replace(/%3D/gi, "=");
  const match = /^#([\w.-]+)=((?:\d+(?:,\d+)*)?)$/.exec(hash);
  return match && { dataSet: match[1], ids: [...new Set(match[2].split(",").filter(Boolean).map(Number))] };
}

/** Puts the selection into the address; the browser's Back undoes it. */
export function writeLink(dataSet, ids) {
  const hash = `#${dataSet}=${ids.join(",")}`;
  if (hash !== location.hash) history.pushState(null, "", hash);
}
