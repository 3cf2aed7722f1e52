// @ts-check
// Colours for a Python script that is only read: comments, strings, keywords and numbers.

const TOKENS =
  /(?<comment>#[^\n]*)|(?<string>[rbfRBF]{0,2}(?:"""[\s\S]*?(?:"""|$)|'''[\s\S]*?(?:'''|$)|"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?))|(?<keyword>\b(?:and|as|assert|async|await|break|class|continue|def|del|elif|else|except|False|finally|for|from|global|if|import|in|is|lambda|None|nonlocal|not|or|pass|raise|return|True|try|while|with|yield)\b)|(?<number>\b\d[\d_.]*(?:[eE][+-]?\d+)?\b)/g;

/** Mark the tokens of the script in this element; its text stays the same. */
export function colourScript(element) {
  if (!element) return;
  const text = element.textContent ?? '';
  const pieces = [];
  let end = 0;
  for (const match of text.matchAll(TOKENS)) {
    const [kind] = Object.entries(match.groups ?? {}).find(([, found]) => found !== undefined) ?? [];
    if (match.index > end) pieces.push(text.slice(end, match.index));
    const mark = document.createElement('span');
    mark.className = `tok-${kind}`;
    mark.textContent = match[0];
    pieces.push(mark);
    end = match.index + match[0].length;
  }
  pieces.push(text.slice(end));
  element.replaceChildren(...pieces);
}
