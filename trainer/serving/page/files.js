// Pictures that a person drops or chooses, those of folders with their path.

/** Suffixes of the pictures that the service reads, which writes them into the page. */
const SUFFIXES = document.getElementById("files").accept.split(",").filter((one) => one.startsWith("."));

/** Files of an event of dropping, folders searched: [name, file] of each picture, and the number of other files. */
export async function droppedFiles(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return chosenFiles(transfer.files);
  const found = [];
  for (const entry of entries) await search(entry, "", found);
  return sorted(found);
}

/** The same of a list of files. */
export function chosenFiles(files) {
  return sorted([...files].map((file) => [file.webkitRelativePath || file.name, file]));
}

async function search(entry, above, found) {
  const name = above ? `${above}/${entry.name}` : entry.name;
  if (entry.name.startsWith(".")) return;
  if (entry.isFile) {
    found.push([name, await new Promise((done, failed) => entry.file(done, failed))]);
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    const part = await new Promise((done, failed) => reader.readEntries(done, failed));  // at most 100 at a time
    if (!part.length) return;
    for (const one of part) await search(one, name, found);
  }
}

function sorted(found) {
  const pictures = found.filter(([name]) => SUFFIXES.some((suffix) => name.toLowerCase().endsWith(suffix)));
  pictures.sort(([one], [other]) => one.localeCompare(other, "en", { numeric: true }));
  return { pictures, others: found.length - pictures.length };
}
