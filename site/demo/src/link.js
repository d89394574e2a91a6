// The selection in the address bar, as #sample=8,17,35: the data set's name and the movie ids in
// order. What stands behind # is never sent to a server.

let followed = location.hash; // what the page has read or written

/** What the address says: null without a selection. */
export function readLink() {
  followed = location.hash;
  // Mail programs write the two signs as codes. (Decoding all of it would fail on a cut-off code.)
  const hash = location.hash.replace(/%2C/gi, ",").replace(/%3D/gi, "=");
  const match = /^#([\w.-]+)=((?:\d+(?:,\d+)*)?)$/.exec(hash);
  return match && { dataSet: match[1], ids: [...new Set(match[2].split(",").filter(Boolean).map(Number))] };
}

/** Puts the selection into the address; the browser's Back undoes it. */
export function writeLink(dataSet, ids) {
  const hash = `#${dataSet}=${ids.join(",")}`;
  if (location.hash !== followed) return; // another one was entered meanwhile: it counts
  if (hash !== followed) history.pushState(null, "", hash);
  followed = location.hash;
}
