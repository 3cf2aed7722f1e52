// @ts-check
// Colours of the style sheet as a canvas needs them: resolved for the theme that is shown now.

/** @type {Map<string, string>} */
const known = new Map();
let probe = null;

document.addEventListener('theme', () => known.clear());

/** The colour of a custom property, for example `--q-ph`. */
export function ink(name) {
  let colour = known.get(name);
  if (colour === undefined) {
    if (!probe) {
      probe = document.createElement('i');
      probe.hidden = true;
      document.body.append(probe);
    }
    probe.style.color = `var(${name})`;
    colour = getComputedStyle(probe).color;
    known.set(name, colour);
  }
  return colour;
}
