// A listing of pictures and their classes, as `data=folder` trains on it.

/**
 * What a picture's label is after it was looked at.
 * @param {string} label as it was
 * @param {?{verdict: string, label: string}} mark right, wrong or renamed; none
 * @returns {string} "" where it is not known
 */
export function corrected(label, mark) {
  if (mark?.verdict === "wrong") return "";
  return mark?.verdict === "renamed" ? mark.label : label;
}

/**
 * The rows of a listing: what was marked, and all other pictures where they are asked for.
 * @param {Map<string, object>} marks of paths
 * @param {Map<string, string>} labels of paths, as they were
 * @param {boolean} others whether pictures without a mark are listed
 * @returns {string[][]} path and label
 */
export function rows(marks, labels, others) {
  const paths = [...labels.keys()].filter((path) => others || marks.has(path));
  return paths.map((path) => [path, corrected(labels.get(path), marks.get(path))]).filter(([, label]) => label);
}

/**
 * Rows as a CSV file with the columns path and label.
 * @param {string[][]} listed rows
 * @returns {string} text
 */
export function csv(listed) {
  const cell = (text) => (/^[\w ./-]*$/.test(text) ? text : `"${text.replaceAll('"', '""')}"`);
  return ["path,label", ...listed.map((row) => row.map(cell).join(","))].join("\n") + "\n";
}

/**
 * The class that a typed name is of: a known one, or the only known one whose last part it is; else a new one.
 * @param {string} name as it was typed
 * @param {string[]} classes that are known
 * @returns {{label: string, known: boolean}} class
 */
export function meant(name, classes) {
  if (classes.includes(name)) return { label: name, known: true };
  const ending = classes.filter((one) => one.endsWith(`/${name}`));
  return ending.length === 1 ? { label: ending[0], known: true } : { label: name, known: false };
}

/**
 * The class of a picture as training names it: its whole folder, where its label is the last part of that.
 * @param {string} path of the picture
 * @param {string} label that is known of it
 * @returns {string} class
 */
export function wholeLabel(path, label) {
  const folder = path.slice(0, Math.max(0, path.lastIndexOf("/")));
  return folder === label || folder.endsWith(`/${label}`) ? folder : label;
}
