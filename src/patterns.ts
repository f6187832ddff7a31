const CLOSES: { readonly [open: string]: string } = { '(': ')', '[': ']', '{': '}' };

/**
 * A comma list of regular expressions, split at the commas between them and not at those inside of one
 * (`\d{2,4}`, `[,;]`). A list whose brackets do not match is split at every comma: one wrong item spoils no other.
 */
export function splitPatterns(list: string): string[] {
  const items: string[] = [];
  const open: string[] = [];
  let from = 0;
  for (let at = 0; at < list.length; at++) {
    const char = list.charAt(at);
    if (char === '\\') at++;
    else if (open.length > 0 && char === open.at(-1)) open.pop();
    // Inside of a class brackets are characters.
    else if (open.at(-1) === ']') continue;
    else if (CLOSES[char] !== undefined) open.push(CLOSES[char]);
    else if (char === ',' && open.length === 0) {
      items.push(list.slice(from, at));
      from = at + 1;
    }
  }
  const found = open.length > 0 ? list.split(',') : [...items, list.slice(from)];
  return found.map((item) => item.trim()).filter((item) => item !== '');
}
